"use strict";
// The page is complete without this script, which toggles and highlights strategies and sorts tables.
(() => {
  const keys = [...document.querySelectorAll(".legend .key")];
  const names = keys.map((button) => button.dataset.strategy);
  const marks = new Map(names.map((name) => [name, [...document.querySelectorAll(`[id*="--${name}--"]`)]]));
  const rows = new Map(names.map((name) => [name, [...document.querySelectorAll(`tr[data-strategy="${name}"]`)]]));

  function show(button, isShown) {
    const name = button.dataset.strategy;
    button.setAttribute("aria-pressed", String(isShown));
    marks.get(name).forEach((mark) => mark.classList.toggle("is-off", !isShown));
    rows.get(name).forEach((row) => { row.hidden = !isShown; });
  }

  function pointOut(chosen) {
    for (const name of names) {
      const isFaded = chosen !== null && name !== chosen;
      marks.get(name).forEach((mark) => mark.classList.toggle("is-faded", isFaded));
      rows.get(name).forEach((row) => row.classList.toggle("is-lit", name === chosen));
    }
  }

  for (const button of keys) {
    const name = button.dataset.strategy;
    const pointOutIfShown = () => pointOut(button.getAttribute("aria-pressed") === "true" ? name : null);
    button.disabled = false;
    button.addEventListener("click", () => {
      show(button, button.getAttribute("aria-pressed") !== "true");
      pointOutIfShown();
    });
    button.addEventListener("mouseenter", pointOutIfShown);
    button.addEventListener("mouseleave", () => pointOut(null));
    button.addEventListener("focus", () => { if (button.matches(":focus-visible")) pointOutIfShown(); });
    button.addEventListener("blur", () => pointOut(null));
    for (const part of [...marks.get(name), ...rows.get(name)]) {
      part.addEventListener("mouseenter", () => pointOut(name));
      part.addEventListener("mouseleave", () => pointOut(null));
    }
  }
  for (const [id, isShown] of [["show-all", true], ["show-none", false]]) {
    const button = document.getElementById(id);
    button.disabled = false;
    button.addEventListener("click", () => keys.forEach((key) => show(key, isShown)));
  }

  function compare(one, other, kind, sign) {
    const [a, b] = [one, other].map((cell) => cell.dataset.sort ?? cell.textContent);
    if (a === "" || b === "") return (a === "") - (b === ""); // missing values are last in both directions
    return sign * (kind === "number" ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.kind === "number" ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const sorted = [...table.tBodies[0].rows].sort(
          (a, b) => compare(a.cells[column], b.cells[column], head.dataset.kind, sign)
        );
        table.tBodies[0].append(...sorted);
      });
    });
  }

  // Frames that scroll sideways can be reached with the keyboard.
  const frames = [...document.querySelectorAll(".scroll")];
  const setFocusable = () => frames.forEach((frame) => {
    if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0;
    else frame.removeAttribute("tabindex");
  });
  setFocusable();
  window.addEventListener("resize", setFocusable);
  document.addEventListener("toggle", setFocusable, true);

  // On paper everything is open.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
})();
