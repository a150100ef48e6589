// Where concepts stand, in a plane of its own units: {x, y, angle} of each shown concept; angle is null where the name
// is written level.
const RING = 95; // between levels, at least
const ROOM = 15; // between neighbours
const COLUMN = 160;
const ROW = 29;

// Leaves share the circle by 1 / ring, so that neighbours on a ring have the same room whichever ring it is. A single
// concept at the top stands in the middle itself.
const radial = (tree, shown) => {
  const places = new Map();
  const ring = (concept) => tree.depths[concept] - (tree.tops.length === 1 ? 1 : 0);
  const leaf = (concept) => !tree.shownChildren(concept).length;
  let total = 0;
  let before = null;
  const starts = new Map();
  for (const concept of shown) {
    if (!leaf(concept)) continue;
    const weight = 1 / Math.max(1, ring(concept));
    const gap = before !== null && tree.parents[before] !== tree.parents[concept] ? 0.5 * weight : 0;
    starts.set(concept, total + gap + weight / 2);
    total += gap + weight;
    before = concept;
  }
  const step = Math.max(RING, (ROOM * total) / (2 * Math.PI));
  for (const concept of [...shown].reverse()) {
    const below = tree.shownChildren(concept);
    const turn = below.length
      ? (places.get(below[0]).turn + places.get(below[below.length - 1]).turn) / 2
      : starts.get(concept) / total;
    const angle = 2 * Math.PI * turn - Math.PI / 2;
    const radius = step * ring(concept);
    places.set(concept, {
      turn,
      x: radius * Math.cos(angle),
      y: radius * Math.sin(angle),
      angle: below.length ? null : angle,
    });
  }
  return places;
};

// Levels from left to right, a row a leaf; who is above stands level with the first below, as in an outline: so the top
// left corner of thousands of rows says where they begin.
const layered = (tree, shown) => {
  const places = new Map();
  let row = 0;
  for (const concept of shown)
    if (!tree.shownChildren(concept).length)
      places.set(concept, { x: COLUMN * tree.depths[concept], y: ROW * row++, angle: 0 });
  for (const concept of [...shown].reverse()) {
    const below = tree.shownChildren(concept);
    if (!below.length) continue;
    places.set(concept, { x: COLUMN * tree.depths[concept], y: places.get(below[0]).y, angle: null });
  }
  return places;
};

const rootPlace = (kind, places, tree) => ({ x: 0, y: kind === "radial" ? 0 : places.get(tree.tops[0]).y });
