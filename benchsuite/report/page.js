// Sorts and filters the tables; the page is complete without it.
for (const box of document.querySelectorAll("[data-table]")) {
  const table = box.querySelector("table");
  const body = table.tBodies[0];
  const original = [...body.rows];
  const filter = box.querySelector("input[type=search]");
  const count = box.querySelector("output");

  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of original) {
      const cells = [...row.cells].map((cell) => cell.textContent.trim().toLowerCase());
      // A number must match a whole cell, a word may match a part of it.
      row.hidden = !words.every((word) => cells.some((cell) => (/^\d+$/.test(word) ? cell === word : cell.includes(word))));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${original.length} rows` : "";
  });

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (was === "descending") return body.append(...original);
      const way = was === "ascending" ? -1 : 1;
      head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // cells without a value come last
        const [m, n] = [Number(x), Number(y)];
        return way * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n);
      };
      body.append(...[...original].sort(order));
    });
  });
}
