// Mouse, pen, fingers and keys on the picture.
const tip = byId("tip");
const pointers = new Map(); // those that are down: id -> {x, y}
let moved = 0; // pixels since the press: a click is one that stays
let lastTap = { time: 0, concept: ROOT };

const hideTip = () => {
  tip.hidden = true;
};

const showTip = (concept) => {
  const spot = screenPlace(concept);
  if (!spot) return hideTip();
  const track = data.examples[concept][0];
  tip.replaceChildren(
    h("strong", {}, data.names[concept]),
    clusterName(concept) ? h("span", {}, clusterName(concept)) : "",
    h("span", {}, `Accuracy ${percent(data.accuracy[concept])} · ${many(data.counts[concept], "track")}`),
    track ? h("span", { class: "quiet" }, data.tracks[track[0]].name.split("/").slice(-2).join("/")) : "",
  );
  tip.hidden = false;
  const left = Math.min(spot.x + 14, view.width - tip.offsetWidth - 8);
  const above = spot.y - tip.offsetHeight - 14;
  tip.style.transform = `translate(${Math.max(8, left)}px, ${above > 4 ? above : spot.y + 18}px)`;
};

const local = (event) => {
  const frame = canvas.getBoundingClientRect();
  return { x: event.clientX - frame.left, y: event.clientY - frame.top };
};

const hover = (concept) => {
  if (concept === view.hovered) return;
  view.hovered = concept;
  canvas.style.cursor = concept === ROOT ? "grab" : "pointer";
  if (concept === ROOT) hideTip();
  else showTip(concept);
  redraw();
};

canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  if (!pointers.size) moved = 0;
  pointers.set(event.pointerId, local(event));
});

canvas.addEventListener("pointermove", (event) => {
  const now = local(event);
  const before = pointers.get(event.pointerId);
  if (!before) {
    if (event.pointerType !== "touch") hover(conceptAt(now.x, now.y));
    return;
  }
  moved += Math.hypot(now.x - before.x, now.y - before.y);
  if (moved > 4) hideTip();
  if (pointers.size === 1) {
    if (moved > 4) pan(now.x - before.x, now.y - before.y);
  } else if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const spread = (place) => Math.max(10, Math.hypot(place.x - other.x, place.y - other.y));
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    zoom(spread(now) / spread(before), middle.x, middle.y);
    moved += 100;
  }
  pointers.set(event.pointerId, now);
});

const release = (event) => {
  const place = pointers.get(event.pointerId);
  pointers.delete(event.pointerId);
  if (!place || event.type === "pointercancel" || moved > 6) return;
  const concept = conceptAt(place.x, place.y, event.pointerType === "touch" ? 18 : 6);
  const again = concept === lastTap.concept && event.timeStamp - lastTap.time < 400;
  lastTap = { time: event.timeStamp, concept };
  if (again && concept !== ROOT) toggle(concept);
  else choose(concept);
};
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => hover(ROOT));

canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const { x, y } = local(event);
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    hideTip();
    zoom(Math.exp((-event.deltaY * lines * (event.ctrlKey ? 4 : 1)) / 500), x, y);
  },
  { passive: false },
);

// Where an arrow leads from the chosen concept.
const neighbour = (key) => {
  const { tree, selected, shown } = view;
  if (selected === ROOT) return shown[0];
  if (key === "ArrowLeft") return tree.parents[selected] === ROOT ? selected : tree.parents[selected];
  if (key === "ArrowRight") return tree.children[selected][0] ?? selected;
  const siblings = tree.childrenOf(tree.parents[selected]);
  const at = siblings.indexOf(selected) + (key === "ArrowUp" ? -1 : 1);
  return siblings[(at + siblings.length) % siblings.length];
};

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  const actions = {
    "+": () => zoom(1.3),
    "=": () => zoom(1.3),
    "-": () => zoom(1 / 1.3),
    0: fit,
    Enter: () => view.selected !== ROOT && toggle(view.selected),
    " ": () => view.selected !== ROOT && toggle(view.selected),
    Escape: () => choose(ROOT),
    p: () => panel.querySelector("[data-track]")?.click(),
  };
  const action = arrow
    ? () => (event.shiftKey ? pan(...arrow) : choose(neighbour(event.key)))
    : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
