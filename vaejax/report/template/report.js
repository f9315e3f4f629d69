"use strict";
// Sorting, filtering, choosing columns, whole pictures, and all details open in print. Without this
// script the page shows everything, in the order in which it was written.
{
  document.documentElement.classList.add("js");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- sort ----

  const sortBy = (table, heading) => {
    const at = heading.cellIndex;
    const falling = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    const valueOf = (row) => {
      const { order } = row.cells[at].dataset;
      const text = row.cells[at].textContent.trim();
      return order ? Number(order) : text === "–" ? null : text;
    };
    const compare = (a, b) => {
      if (a === null || b === null) return (a === null) - (b === null); // no number: at the end
      const both = typeof a === "number" && typeof b === "number";
      const sign = both ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return falling ? -sign : sign;
    };
    rows.sort((first, second) => compare(valueOf(first), valueOf(second)));
    table.tBodies[0].append(...rows);
  };

  for (const table of all("table.sortable")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sortBy(table, heading));
    }
  }

  // ---- choose columns ----

  const showColumn = (table, at, shown) => {
    for (const row of table.rows) row.cells[at].hidden = !shown;
    const left = [...table.tHead.rows[0].cells].filter((cell) => !cell.hidden).length;
    table.classList.toggle("wide", left > 11); // on paper such a table may break words
  };
  for (const boxes of all("[data-columns-of]")) {
    const table = document.getElementById(boxes.dataset.columnsOf).querySelector("table");
    for (const box of all("input", boxes)) {
      showColumn(table, Number(box.value), box.checked);
      box.addEventListener("change", () => showColumn(table, Number(box.value), box.checked));
    }
  }

  // ---- filter ----

  for (const input of all("[data-filters]")) {
    const place = document.getElementById(input.dataset.filters);
    const table = place.matches("table") ? place : place.querySelector("table");
    const count = document.querySelector(`[data-counts="${input.dataset.filters}"]`);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${left} of ${rows.length}` : "";
    });
  }

  // ---- a picture in its own size, which scrolls in its box ----

  for (const picture of all(".picture")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    const show = (whole) => {
      picture.classList.toggle("whole", whole);
      picture.tabIndex = whole ? 0 : -1; // arrow keys scroll it
      button.textContent = whole ? "Fit to the page" : "Full size";
    };
    const turn = () => show(!picture.classList.contains("whole"));
    show(false);
    button.addEventListener("click", turn);
    picture.addEventListener("dblclick", turn);
    picture.after(button);
  }

  // ---- print ----

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
}
