// The picture: a canvas, because thousands of concepts stay fluid on it; only what is in sight is drawn, and only when
// something has changed. What it shows is also in the panel, the search and the announcements, as text.
const canvas = byId("tree");
const pen = canvas.getContext("2d");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MOVE = 350; // milliseconds from one layout to the next
const LABELS = 400; // at a time, at most
const CELL = 8; // pixels: names keep apart by such cells

const view = {
  tree: trees[0],
  kind: "radial",
  scale: 1,
  x: 0, // of the plane's origin, in pixels of the canvas
  y: 0,
  width: 0,
  height: 0,
  shown: [],
  places: new Map(),
  root: { x: 0, y: 0 },
  from: null, // {places, root, start}: while concepts move
  selected: ROOT,
  hovered: ROOT,
  matches: new Set(),
  cluster: null, // the one that the legend brings out
};

const colours = {};
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "card", "ink", "soft", "line", "accent", "field"])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
};

let asked = false;
const redraw = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame((now) => {
    asked = false;
    draw(now);
  });
};

// Lay out what is shown now; concepts move there from where they are.
const arrange = ({ move = true } = {}) => {
  const before = view.places.size ? { places: currentPlaces(performance.now()), root: view.root } : null;
  view.shown = view.tree.shown();
  view.places = (view.kind === "radial" ? radial : layered)(view.tree, view.shown);
  view.root = rootPlace(view.kind, view.places, view.tree);
  view.from = null;
  if (before && move && !calm.matches) view.from = { ...before, start: performance.now() };
  redraw();
};

const eased = (now) => {
  const t = Math.min(1, Math.max(0, (now - view.from.start) / MOVE));
  return t * t * (3 - 2 * t);
};

const placeAt = (concept, t) => {
  const to = view.places.get(concept);
  if (!view.from) return to;
  let at = concept; // what was hidden comes out of its nearest ancestor that was not
  while (at !== ROOT && !view.from.places.has(at)) at = view.tree.parents[at];
  const from = at === ROOT ? view.from.root : view.from.places.get(at);
  return { x: from.x + t * (to.x - from.x), y: from.y + t * (to.y - from.y), angle: to.angle };
};

const currentPlaces = (now) => {
  if (!view.from) return view.places;
  const t = eased(now);
  return new Map(view.shown.map((concept) => [concept, placeAt(concept, t)]));
};

const sizeOf = (concept) => {
  const size = 3.5 + Math.min(9, 1.5 * Math.sqrt(view.tree.below[concept]));
  return Math.max(1.4, size * Math.min(1.25, Math.max(0.2, view.scale)));
};

// The smallest frame around all places, with room for names: [left, top, right, bottom].
const extent = () => {
  let [left, top, right, bottom] = [view.root.x, view.root.y, view.root.x, view.root.y];
  for (const { x, y } of view.places.values()) {
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  return [left, top, right, bottom];
};

// Sides of the canvas that cards cover.
const covered = () => {
  const panel = byId("panel");
  if (panel.hidden) return { right: 0, bottom: 0 };
  const narrow = view.width <= 640;
  return { right: narrow ? 0 : panel.offsetWidth + 16, bottom: narrow ? panel.offsetHeight : 0 };
};

const fit = () => {
  const [left, top, right, bottom] = extent();
  const free = covered();
  const width = view.width - free.right;
  const height = view.height - free.bottom;
  const names = Math.min(90, width / 6); // pixels beside the outermost concepts
  const above = view.kind === "radial" ? names : 40;
  const across = (width - 2 * names) / (right - left || 1);
  const down = (height - 2 * above) / (bottom - top || 1);
  view.scale = Math.min(1.6, Math.max(0.01, Math.min(across, down)));
  view.x = width / 2 - (view.scale * (left + right)) / 2;
  view.y = height / 2 - (view.scale * (top + bottom)) / 2;
  if (view.kind === "layered" && view.scale < 0.85) {
    // A long list: begin at its top, legibly, beside the tools.
    view.scale = 0.85;
    view.x = 84 - view.scale * left;
    view.y = 40 - view.scale * top;
  }
  redraw();
};

const smallest = () => {
  const [left, top, right, bottom] = extent();
  return 0.4 * Math.min(view.width / (right - left || 1), view.height / (bottom - top || 1), 1);
};

const zoom = (factor, x = view.width / 2, y = view.height / 2) => {
  const scale = Math.min(6, Math.max(smallest(), view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  redraw();
};

const pan = (dx, dy) => {
  view.x += dx;
  view.y += dy;
  redraw();
};

// Bring a concept into the free part of the canvas; nearer, where `scale` asks for it.
const reveal = (concept, scale = 0) => {
  const place = view.places.get(concept);
  if (!place) return;
  const free = covered();
  const width = view.width - free.right;
  const height = view.height - free.bottom;
  view.scale = Math.max(view.scale, scale);
  const x = view.x + view.scale * place.x;
  const y = view.y + view.scale * place.y;
  const inside = x > 60 && x < width - 60 && y > 40 && y < height - 40;
  if (!inside || scale) {
    view.x += width / 2 - x;
    view.y += height / 2 - y;
  }
  redraw();
};

// The concept under a point of the canvas, or ROOT.
const conceptAt = (x, y, reach = 6) => {
  let best = ROOT;
  let nearest = Infinity;
  for (const concept of view.shown) {
    const place = view.places.get(concept);
    const distance = Math.hypot(view.x + view.scale * place.x - x, view.y + view.scale * place.y - y);
    const margin = distance - sizeOf(concept);
    if (margin < reach && margin < nearest) [best, nearest] = [concept, margin];
  }
  return best;
};

const screenPlace = (concept) => {
  const place = view.places.get(concept);
  return place && { x: view.x + view.scale * place.x, y: view.y + view.scale * place.y };
};

const widths = new Map();
const shortName = (concept) => {
  const name = data.names[concept];
  return name.length > 32 ? `${name.slice(0, 31)}…` : name;
};
const widthOf = (text) => {
  if (!widths.has(text)) widths.set(text, pen.measureText(text).width);
  return widths.get(text);
};

const draw = (now) => {
  const t = view.from ? eased(now) : 1;
  const ratio = canvas.width / view.width;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  const spots = new Map();
  for (const concept of view.shown) {
    const place = placeAt(concept, t);
    spots.set(concept, { x: view.x + view.scale * place.x, y: view.y + view.scale * place.y, angle: place.angle });
  }
  const root = { x: view.x + view.scale * view.root.x, y: view.y + view.scale * view.root.y };
  drawEdges(spots, root);
  drawConcepts(spots, root);
  drawNames(spots);
  if (view.from && t < 1) redraw();
  else view.from = null;
};

const inSight = ({ x, y }, margin = 0) =>
  x > -margin && y > -margin && x < view.width + margin && y < view.height + margin;

const faded = (concept) => view.cluster !== null && data.cluster[concept] !== view.cluster;

const drawEdges = (spots, root) => {
  const chosen = new Set(view.selected === ROOT ? [] : view.tree.path(view.selected));
  const line = (from, to) => {
    pen.moveTo(from.x, from.y);
    if (view.kind === "radial") {
      if (from === root) return pen.lineTo(to.x, to.y);
      // It leaves the parent and reaches the child along their rays from the root.
      const inner = Math.hypot(from.x - root.x, from.y - root.y) || 1;
      const outer = Math.hypot(to.x - root.x, to.y - root.y) || 1;
      const middle = (inner + outer) / 2;
      pen.bezierCurveTo(
        root.x + ((from.x - root.x) * middle) / inner,
        root.y + ((from.y - root.y) * middle) / inner,
        root.x + ((to.x - root.x) * middle) / outer,
        root.y + ((to.y - root.y) * middle) / outer,
        to.x,
        to.y,
      );
    } else {
      const middle = (from.x + to.x) / 2;
      pen.bezierCurveTo(middle, from.y, middle, to.y, to.x, to.y);
    }
  };
  const stroke = (wanted, colour, width, alpha) => {
    pen.beginPath();
    for (const concept of view.shown) {
      if (!wanted(concept)) continue;
      const parent = view.tree.parents[concept];
      const from = parent === ROOT ? root : spots.get(parent);
      const to = spots.get(concept);
      const out =
        Math.max(from.x, to.x) < 0 ||
        Math.max(from.y, to.y) < 0 ||
        Math.min(from.x, to.x) > view.width ||
        Math.min(from.y, to.y) > view.height;
      if (!out) line(from, to);
    }
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.globalAlpha = alpha;
    pen.stroke();
    pen.globalAlpha = 1;
  };
  const thin = Math.min(1.4, Math.max(0.5, view.scale * 1.6));
  // Edges from the root say nothing but that a concept is at the top.
  stroke((concept) => view.tree.parents[concept] === ROOT, colours.field, thin, 0.28);
  stroke((concept) => view.tree.parents[concept] !== ROOT, colours.field, thin, 0.75);
  if (chosen.size) stroke((concept) => chosen.has(concept), colours.accent, 2.5, 1);
};

const drawConcepts = (spots, root) => {
  if (view.tree.tops.length > 1 || view.kind === "layered") {
    pen.fillStyle = colours.field;
    pen.beginPath();
    pen.arc(root.x, root.y, 3, 0, 7);
    pen.fill();
  }
  const groups = new Map(); // one path a colour
  for (const concept of view.shown) {
    const spot = spots.get(concept);
    if (!inSight(spot, 20)) continue;
    const key = `${data.cluster[concept]}${faded(concept) ? "-" : ""}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(concept);
  }
  for (const [key, concepts] of groups) {
    pen.beginPath();
    for (const concept of concepts) {
      const { x, y } = spots.get(concept);
      const size = sizeOf(concept);
      pen.moveTo(x + size, y);
      pen.arc(x, y, size, 0, 2 * Math.PI);
    }
    pen.globalAlpha = key.endsWith("-") ? 0.15 : 1;
    pen.fillStyle = colourOf(data.cluster[concepts[0]]);
    pen.fill();
    pen.globalAlpha = 1;
  }
  const ring = (concept, colour, width, away) => {
    const { x, y } = spots.get(concept);
    pen.beginPath();
    pen.arc(x, y, sizeOf(concept) + away, 0, 2 * Math.PI);
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke();
  };
  for (const concept of view.tree.closed)
    if (spots.has(concept) && inSight(spots.get(concept), 20)) ring(concept, colourOf(data.cluster[concept]), 1.5, 3);
  for (const concept of view.matches)
    if (spots.has(concept) && inSight(spots.get(concept), 20)) ring(concept, colours.ink, 2, 3);
  for (const concept of [view.hovered, view.selected])
    if (concept !== ROOT && spots.has(concept)) ring(concept, colours.accent, 3, 3.5);
};

// The names of the widest branches first; others where there is room.
const drawNames = (spots) => {
  const taken = new Set();
  const columns = Math.ceil(view.width / CELL) + 2;
  const first = new Set([view.selected, view.hovered, ...view.matches]);
  const rank = (concept) => (first.has(concept) ? 1e9 : view.tree.below[concept] * 10 - view.tree.depths[concept]);
  const named = (concept) => inSight(spots.get(concept), 10) && (!faded(concept) || first.has(concept));
  const visible = view.shown.filter(named);
  visible.sort((a, b) => rank(b) - rank(a));
  pen.font = "13px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  let drawn = 0;
  // From afar only some names, with air around them.
  const sides = visible.length > 300 && view.scale < 0.6 ? [-20, -12, -4, 4, 12, 20] : [-5, 5];
  const beside = visible.length > 300 && view.scale < 0.6 ? 24 : CELL;
  for (const concept of visible) {
    if (drawn >= LABELS) break;
    const { x, y, angle } = spots.get(concept);
    const hidden = view.tree.closed.has(concept) && view.tree.below[concept];
    const text = hidden ? `${shortName(concept)} +${view.tree.below[concept]}` : shortName(concept);
    const width = widthOf(text);
    const away = sizeOf(concept) + 5;
    // The name's line: from (sx, sy) on, by (dx, dy) a pixel.
    const turned = angle ?? 0;
    const [dx, dy] = [Math.cos(turned), Math.sin(turned)];
    const centred = angle === null;
    const sx = centred ? x - width / 2 : x + dx * away;
    const sy = centred ? y - away - 7 : y + dy * away;
    const cells = [];
    let free = true;
    for (let at = CELL - beside; at <= width + beside && free; at += CELL) {
      for (const side of sides) {
        const column = Math.floor((sx + dx * at - dy * side) / CELL);
        const row = Math.floor((sy + dy * at + dx * side) / CELL);
        const cell = row * columns + column;
        if (taken.has(cell)) {
          free = false;
          break;
        }
        cells.push(cell);
      }
    }
    if (!free && !(concept === view.selected || concept === view.hovered)) continue;
    for (const cell of cells) taken.add(cell);
    drawn++;
    pen.save();
    pen.translate(sx, sy);
    pen.rotate(turned);
    if (dx < -1e-9) {
      pen.rotate(Math.PI); // names on the left half read from the outside in, not upside down
      pen.textAlign = "right";
    } else pen.textAlign = "left";
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 4;
    pen.strokeText(text, 0, 0);
    const plainly = centred || view.tree.below[concept] ? colours.ink : colours.soft;
    pen.fillStyle = first.has(concept) ? colours.accent : plainly;
    pen.fillText(text, 0, 0);
    pen.restore();
  }
};

const resize = () => {
  const before = [view.width, view.height];
  view.width = canvas.clientWidth;
  view.height = canvas.clientHeight;
  const ratio = Math.min(3, devicePixelRatio || 1);
  canvas.width = Math.round(view.width * ratio);
  canvas.height = Math.round(view.height * ratio);
  if (!before[0]) fit();
  else pan((view.width - before[0]) / 2, (view.height - before[1]) / 2);
};
