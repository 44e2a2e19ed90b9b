
// Two conveniences; without them the page holds the same: values in its tables, and in the titles that browsers show.
"use strict";

// Tables: a click on a header sorts by its column, another one the other way round.
const UNITS = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

function value(cell) {
  const text = cell.textContent.trim();
  const found = /^([+-]?[\d,]+(?:\.\d+)?(?:e[+-]?\d+)?) ?([kMGT]?)B?%?(?: ±.*| x \d+| to .*)?$/.exec(text);
  if (found) return Number(found[1].replaceAll(",", "")) * UNITS[found[2]];
  return text === "-" ? -Infinity : text === "∞" ? Infinity : text;
}

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one === other ? 0 : one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function sort(header, column) {
  const table = header.closest("table");
  const down = header.getAttribute("aria-sort") === "ascending";
  const rows = [...table.tBodies[0].rows];
  const keys = new Map(rows.map((row) => [row, value(row.cells[column])]));
  rows.sort((one, other) => (down ? -1 : 1) * compare(keys.get(one), keys.get(other)));
  table.tBodies[0].append(...rows);
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const header of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => sort(header, header.cellIndex));
}

// Figures: the value under the pointer, and, with the arrow keys, that of the next mark in their direction.
const NEAR = 14;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
document.body.append(tip);
const texts = new Map();
let shown = null;

function hide() {
  if (shown) shown.classList.remove("here");
  shown = null;
  tip.style.visibility = "hidden";
}

function show(mark, x, y) {
  if (shown !== mark) hide();
  shown = mark;
  mark.classList.add("here");
  tip.textContent = texts.get(mark);
  const left = Math.min(Math.max(x - tip.offsetWidth / 2, 6), document.documentElement.clientWidth - tip.offsetWidth - 6);
  const top = y - tip.offsetHeight - 12;
  tip.style.transform = `translate(${left}px, ${top > 4 ? top : y + 18}px)`;
  tip.style.visibility = "visible";
}

function centre(mark) {
  const box = mark.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}

function away(mark, x, y) {
  const box = mark.getBoundingClientRect();
  return Math.hypot(Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom));
}

// The nearest mark in a direction: a step aside counts three times.
function next(marks, arrow) {
  const [x, y] = centre(shown);
  let found = shown;
  let least = Infinity;
  for (const mark of marks) {
    const [right, down] = centre(mark);
    const along = (right - x) * arrow[0] + (down - y) * arrow[1];
    const aside = Math.abs((right - x) * arrow[1]) + Math.abs((down - y) * arrow[0]);
    if (along > 0.5 && along + 3 * aside < least) [found, least] = [mark, along + 3 * aside];
  }
  return found;
}

for (const figure of document.querySelectorAll("svg.ao")) {
  const marks = [];
  for (const title of figure.querySelectorAll(":scope > :not(title) > title")) {
    texts.set(title.parentNode, title.textContent);
    if (title.parentNode.tagName !== "path") marks.push(title.parentNode);
    title.remove(); // the browser's own tip would cover ours
  }
  const name = figure.querySelector("title");
  figure.setAttribute("role", "group");
  figure.setAttribute("aria-label", `${name.textContent}: arrow keys read its values`);
  name.remove();
  if (!marks.length) continue;

  figure.tabIndex = 0;
  figure.addEventListener("pointermove", (event) => {
    const distances = marks.map((mark) => away(mark, event.clientX, event.clientY));
    const least = Math.min(...distances);
    const mark = least <= NEAR ? marks[distances.indexOf(least)] : event.target;
    if (texts.has(mark)) show(mark, event.clientX, event.clientY);
    else hide();
  });
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) {
      event.preventDefault();
      const mark = marks.includes(shown) ? next(marks, arrow) : marks[0];
      show(mark, ...centre(mark));
    } else if (event.key === "Escape") hide();
  });
}

function follow() {
  if (shown && document.activeElement.contains(shown)) show(shown, ...centre(shown));
  else hide();
}

addEventListener("scroll", follow, { passive: true });
