// Search: what matches is ringed in the picture and listed; Enter goes there.
const input = byId("search");
const found = byId("found");
const LISTED = 12;
let at = -1; // the entry that the arrow keys are on

const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const plainNames = data.names.map(plain);

// Names that begin with the text come first, then those with a word that does, then the others.
const matching = (text) => {
  const wanted = plain(text.trim());
  if (!wanted) return [];
  const rank = (name) => {
    const place = name.indexOf(wanted);
    return place < 0 ? -1 : place === 0 ? 0 : /[\p{L}\p{N}]/u.test(name[place - 1]) ? 2 : 1;
  };
  return plainNames
    .map((name, concept) => [rank(name), name.length, concept])
    .filter(([value]) => value >= 0)
    .sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
    .map(([, , concept]) => concept);
};

const showFound = () => {
  const concepts = matching(input.value);
  view.matches = new Set(concepts);
  at = -1;
  input.removeAttribute("aria-activedescendant");
  const open = input.value.trim() !== "";
  found.hidden = !open;
  input.setAttribute("aria-expanded", String(open));
  found.replaceChildren(
    ...concepts.slice(0, LISTED).map((concept, n) =>
      h(
        "li",
        {
          role: "option",
          id: `found-${n}`,
          "aria-selected": "false",
          "data-concept": concept,
          onpointerdown: (event) => event.preventDefault(), // the search keeps the focus
          onclick: () => accept(concept),
        },
        h("span", { class: "dot", style: `background:${colourOf(data.cluster[concept])}`, "aria-hidden": "true" }),
        h("span", { class: "name" }, data.names[concept]),
        h("span", { class: "quiet" }, clusterName(concept)),
      ),
    ),
  );
  if (open && concepts.length !== Math.min(concepts.length, LISTED))
    found.append(h("li", { class: "quiet", role: "presentation" }, `${concepts.length - LISTED} more`));
  if (open && !concepts.length) found.append(h("li", { class: "quiet", role: "presentation" }, "No concept like that"));
  if (open) announce(many(concepts.length, "concept"));
  redraw();
};

const accept = (concept) => {
  input.value = "";
  showFound();
  choose(concept, { near: true });
  canvas.focus({ preventScroll: true });
};

input.addEventListener("input", showFound);
input.addEventListener("blur", () => {
  found.hidden = true;
  input.setAttribute("aria-expanded", "false");
});
input.addEventListener("focus", () => input.value.trim() && showFound());
input.addEventListener("keydown", (event) => {
  const entries = [...found.querySelectorAll("[data-concept]")];
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    if (!entries.length) return;
    event.preventDefault();
    at = (at + (event.key === "ArrowDown" ? 1 : at < 0 ? 0 : -1) + entries.length) % entries.length;
    entries.forEach((entry, n) => entry.setAttribute("aria-selected", String(n === at)));
    input.setAttribute("aria-activedescendant", entries[at].id);
    entries[at].scrollIntoView({ block: "nearest" });
  } else if (event.key === "Enter") {
    const entry = entries[Math.max(0, at)];
    if (entry) accept(Number(entry.dataset.concept));
  } else if (event.key === "Escape") {
    input.value = "";
    showFound();
  }
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea, select") || document.querySelector("dialog[open]"))
    return;
  event.preventDefault();
  input.focus();
});
