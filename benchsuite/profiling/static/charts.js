// The part of google.charts that TensorBoard's profiler plugin calls, drawn as plain SVG and tables.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = ["#0072B2", "#E0A800", "#009E73", "#D55E00", "#8C6BB1", "#56B4E9", "#CC79A7", "#999999"];
  const raw = cell => cell !== null && typeof cell === "object" && "v" in cell ? cell.v : cell;
  const text = cell => cell !== null && typeof cell === "object" && "f" in cell ? cell.f : String(raw(cell) ?? "");
  const short = value => Math.abs(value) >= 1e5 || (value && Math.abs(value) < 0.01) ? value.toExponential(1) : String(+value.toPrecision(4));
  const size = (value, otherwise) => Number.isFinite(+value) && +value > 0 ? +value : otherwise;

  class DataTable {
    constructor() { this.columns = []; this.rows = []; this.properties = new Map(); }
    addColumn(type, label) {
      this.columns.push(typeof type === "object" ? { ...type, label: type.label ?? type.id } : { type, label });
    }
    addRow(row) { this.rows.push(row); }
    addRows(rows) { this.rows.push(...rows); }
    setProperty(row, column, name, value) { this.properties.set(row + "/" + column + "/" + name, value); }
    getProperty(row, column, name) { return this.properties.get(row + "/" + column + "/" + name); }
    // Columns that are drawn: the first one and those of numbers, not tooltips and other roles.
    series() { return this.columns.map((c, i) => i).filter(i => i > 0 && !this.columns[i].role && this.columns[i].type !== "string"); }
  }

  function arrayToDataTable(lines) {
    const table = new DataTable();
    lines[0].forEach((label, i) => table.addColumn({ type: typeof raw(lines[1]?.[i]) === "string" ? "string" : "number", label: text(label) }));
    table.addRows(lines.slice(1));
    return table;
  }

  function element(parent, name, attributes, content) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (content !== undefined) made.textContent = content;
    parent.append(made);
    return made;
  }

  class Chart {
    constructor(container) { this.container = container; this.listeners = {}; this.selection = []; }
    clearChart() { this.container.replaceChildren(); }
    getSelection() { return this.selection; }
    setSelection(selection) { this.selection = selection ?? []; }
    trigger(name, event) { (this.listeners[name] ?? []).forEach(call => call(event)); }
    select(row, column) { this.selection = [{ row, column }]; this.trigger("select"); }
    draw(table, options) {
      this.table = table; this.options = options ?? {};
      this.container.replaceChildren();
      this.width = this.container.clientWidth || this.container.parentElement?.clientWidth || 600;
      this.height = size(this.options.height, 300);
      this.render();
      this.trigger("ready");
    }
    canvas() {
      const svg = element(this.container, "svg", { width: this.width, height: this.height, "font-size": 11, "font-family": "sans-serif", role: "img" });
      if (this.options.title) element(svg, "text", { x: 8, y: 14, "font-weight": "bold" }, this.options.title);
      return svg;
    }
    colour(index) { return this.options.colors?.[index] ?? COLOURS[index % COLOURS.length]; }
    legend(svg, names, x, y, down) {
      names.forEach((name, i) => {
        const left = down ? x : x + i * (this.width - x) / names.length, top = down ? y + i * 16 : y;
        if (top > this.height) return;
        element(svg, "rect", { x: left, y: top - 9, width: 10, height: 10, fill: this.colour(i) });
        element(svg, "text", { x: left + 14, y: top }, name.length > 44 ? name.slice(0, 43) + "…" : name);
      });
    }
  }

  class PieChart extends Chart {
    render() {
      const svg = this.canvas(), rows = this.table.rows.filter(row => +raw(row[1]) > 0);
      const total = rows.reduce((sum, row) => sum + +raw(row[1]), 0);
      const r = Math.min(this.height / 2 - 24, this.width / 4), cx = r + 16, cy = this.height / 2 + 6;
      const plain = this.options.legend === "none";
      let from = -Math.PI / 2;
      rows.forEach((row, i) => {
        const part = +raw(row[1]) / total, to = from + Math.min(part, 0.99999) * 2 * Math.PI;
        const point = (angle, radius) => (cx + radius * Math.cos(angle)) + " " + (cy + radius * Math.sin(angle));
        const hole = r * (this.options.pieHole ?? 0), large = part > 0.5 ? 1 : 0;
        const path = element(svg, "path", {
          d: `M ${point(from, r)} A ${r} ${r} 0 ${large} 1 ${point(to, r)} L ${point(to, hole)} A ${hole} ${hole} 0 ${large} 0 ${point(from, hole)} Z`,
          fill: this.colour(i), stroke: "#fff",
        });
        element(path, "title", {}, `${text(row[0])}: ${text(row[1])} (${(100 * part).toFixed(1)} %)`);
        from += part * 2 * Math.PI;
      });
      if (!plain) this.legend(svg, rows.map(row => `${text(row[0])}  ${(100 * +raw(row[1]) / total).toFixed(1)} %`), 2 * r + 40, 36, true);
    }
  }

  // Axes and the area that bars, lines and steps share.
  class Plot extends Chart {
    frame(xs, low, high, labels) {
      const svg = this.canvas(), o = this.options;
      const area = this.area = { left: 70, top: 28, width: this.width - 90, height: this.height - 84 };
      const span = high - low || 1;
      this.y = value => area.top + area.height * (1 - (value - low) / span);
      for (let i = 0; i <= 4; i++) {
        const value = low + span * i / 4;
        element(svg, "line", { x1: area.left, x2: area.left + area.width, y1: this.y(value), y2: this.y(value), stroke: "#ccc" });
        element(svg, "text", { x: area.left - 6, y: this.y(value) + 4, "text-anchor": "end" }, short(value));
      }
      const every = Math.max(1, Math.ceil(labels.length / 10));
      labels.forEach((label, i) => {
        if (i % every === 0) element(svg, "text", { x: xs[i], y: area.top + area.height + 16, "text-anchor": "middle" }, label.length > 18 ? label.slice(0, 17) + "…" : label);
      });
      const bottom = area.top + area.height;
      if (o.hAxis?.title) element(svg, "text", { x: area.left + area.width / 2, y: bottom + 32, "text-anchor": "middle" }, o.hAxis.title);
      if (o.vAxis?.title) element(svg, "text", { x: 12, y: area.top + area.height / 2, transform: `rotate(-90 12 ${area.top + area.height / 2})`, "text-anchor": "middle" }, o.vAxis.title);
      this.legend(svg, this.table.series().map(i => this.table.columns[i].label ?? ""), area.left, bottom + 48, false);
      return svg;
    }
    numbers(stacked) {
      return this.table.rows.map(row => {
        const values = this.table.series().map(i => +raw(row[i]) || 0);
        return stacked ? values.map((_, i) => values.slice(0, i + 1).reduce((a, b) => a + b, 0)) : values;
      });
    }
  }

  class ColumnChart extends Plot {
    render() {
      const stacked = !!this.options.isStacked, values = this.numbers(stacked), rows = this.table.rows;
      const slot = (this.width - 90) / Math.max(1, rows.length), series = this.table.series();
      const xs = rows.map((_, i) => 70 + (i + 0.5) * slot);
      const svg = this.frame(xs, 0, Math.max(1e-12, ...values.flat()), rows.map(row => text(row[0])));
      const wide = Math.min(60, slot * 0.7);
      values.forEach((row, i) => row.forEach((value, k) => {
        const base = stacked && k ? row[k - 1] : 0, w = stacked ? wide : wide / row.length;
        const bar = element(svg, "rect", {
          x: xs[i] - wide / 2 + (stacked ? 0 : k * w), y: this.y(value), width: w, height: Math.max(0, this.y(base) - this.y(value)), fill: this.colour(k),
        });
        element(bar, "title", {}, `${text(rows[i][0])}, ${this.table.columns[series[k]].label}: ${short(value - base)}`);
        bar.addEventListener("click", () => this.select(i, series[k]));
      }));
    }
  }

  class LineChart extends Plot {
    render() {
      const values = this.numbers(false), rows = this.table.rows, flat = values.flat();
      const numeric = rows.every(row => Number.isFinite(+raw(row[0])));
      const at = rows.map((row, i) => numeric ? +raw(row[0]) : i);
      this.from = Math.min(...at, Infinity); this.to = Math.max(...at, -Infinity);
      if (!rows.length) { this.from = 0; this.to = 1; }
      const x = value => 70 + (this.width - 90) * (value - this.from) / (this.to - this.from || 1);
      const ticks = numeric ? Array.from({ length: 6 }, (_, i) => this.from + (this.to - this.from) * i / 5) : at;
      const svg = this.frame(ticks.map(x), Math.min(0, ...flat), Math.max(1e-12, ...flat), numeric ? ticks.map(short) : rows.map(row => text(row[0])));
      this.table.series().forEach((_, k) => element(svg, "polyline", {
        points: values.map((row, i) => x(at[i]) + "," + this.y(row[k])).join(" "), fill: "none", stroke: this.colour(k), "stroke-width": 1.5,
      }));
    }
    getChartLayoutInterface() {
      return {
        getChartAreaBoundingBox: () => this.area,
        getHAxisValue: pixel => this.from + (pixel - this.area.left) / this.area.width * (this.to - this.from),
      };
    }
  }

  class SteppedAreaChart extends ColumnChart {}
  class ComboChart extends ColumnChart {}

  class Timeline extends Chart {
    render() {
      const { columns, rows } = this.table, svg = this.canvas();
      const index = id => columns.findIndex(column => column.id === id);
      const [layer, name, start, end] = ["Layer", "Name", "Start", "End"].map(index);
      const tip = columns.findIndex(column => column.role === "tooltip");
      const first = Math.min(...rows.map(row => row[start])), last = Math.max(...rows.map(row => row[end]));
      const layers = [...new Set(rows.map(row => row[layer]))];
      for (const row of rows) {
        const x = (row[start] - first) / (last - first || 1) * this.width, y = 22 + layers.indexOf(row[layer]) * 32;
        const w = Math.max(1, (row[end] - row[start]) / (last - first || 1) * this.width);
        const box = element(svg, "rect", { x, y, width: w, height: 28, fill: this.colour(layers.indexOf(row[layer])) });
        element(box, "title", {}, tip < 0 ? row[name] : row[tip]);
        if (w > 60) element(svg, "text", { x: x + 4, y: y + 18, fill: "#fff" }, row[name].slice(0, Math.floor(w / 7)));
      }
    }
  }

  class Table extends Chart {
    render() {
      const { columns, rows } = this.table, { sortColumn, sortAscending, allowHtml } = this.options;
      const order = rows.map((_, i) => i), page = size(this.options.pageSize, Infinity);
      const sort = (column, up) => order.sort((a, b) => {
        const [x, y] = [raw(rows[a][column]), raw(rows[b][column])];
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      const shown = columns.map((_, i) => i).filter(i => !columns[i].role);
      const table = document.createElement("table"), body = document.createElement("tbody"), bar = document.createElement("p");
      table.style.cssText = "border-collapse:collapse;font:12px sans-serif;width:100%";
      let at = 0, up = !!sortAscending, by = sortColumn ?? -1;
      const fill = () => {
        body.replaceChildren();
        for (const i of order.slice(at, at + page)) {
          const line = body.insertRow();
          for (const k of shown) {
            const cell = line.insertCell(), value = rows[i][k];
            if (allowHtml) cell.innerHTML = text(value); else cell.textContent = text(value);
            cell.style.cssText = "border:1px solid #ddd;padding:2px 6px;" + (columns[k].type === "number" ? "text-align:right;" : "") + (this.table.getProperty(i, k, "style") ?? "");
          }
        }
        bar.textContent = rows.length > page ? `${at + 1} to ${Math.min(at + page, rows.length)} of ${rows.length} ` : "";
        for (const [label, to] of rows.length > page ? [["‹", at - page], ["›", at + page]] : []) {
          const button = document.createElement("button");
          button.textContent = label; button.disabled = to < 0 || to >= rows.length;
          button.onclick = () => { at = to; fill(); };
          bar.append(button);
        }
      };
      const head = table.createTHead().insertRow();
      for (const k of shown) {
        const cell = document.createElement("th");
        cell.textContent = columns[k].label ?? ""; cell.style.cssText = "border:1px solid #ddd;padding:2px 6px;background:#f3f3f3;cursor:pointer";
        cell.onclick = () => { up = by === k ? !up : false; by = k; sort(k, up); fill(); };
        head.append(cell);
      }
      if (by >= 0) sort(by, up);
      table.append(body);
      this.container.append(table, bar);
      fill();
    }
  }

  window.google = {
    charts: { load: () => Promise.resolve(), setOnLoadCallback: call => call() },
    visualization: {
      DataTable, arrayToDataTable, PieChart, ColumnChart, LineChart, SteppedAreaChart, ComboChart, Timeline, Table,
      events: {
        addListener(chart, name, call) { (chart.listeners[name] ??= []).push(call); },
      },
    },
  };
})();
