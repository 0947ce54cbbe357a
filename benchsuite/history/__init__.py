"""Reading the results of airspeed velocity (asv), and publishing them as a site."""
