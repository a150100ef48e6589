// What is around the picture: which tree, how it is laid out, the legend, what the figures mean.
const algorithm = byId("algorithm");
const layout = byId("layout");
const fold = byId("fold");

algorithm.append(...trees.map(({ label }, n) => h("option", { value: n }, label)));
algorithm.closest("label").hidden = trees.length < 2;
algorithm.addEventListener("change", () => {
  view.tree = trees[Number(algorithm.value)];
  shorten();
  if (view.selected !== ROOT) view.tree.open(view.selected);
  hideTip();
  arrange();
  showFold();
  showPanel();
  fit();
  announce(`Tree: ${view.tree.label}`);
});
layout.addEventListener("change", () => {
  view.kind = layout.value;
  shorten();
  if (view.selected !== ROOT) view.tree.open(view.selected);
  hideTip();
  arrange();
  showFold();
  showPanel();
  fit();
  if (view.selected !== ROOT) reveal(view.selected);
});

byId("in").addEventListener("click", () => zoom(1.4));
byId("out").addEventListener("click", () => zoom(1 / 1.4));
byId("fit").addEventListener("click", fit);

// One top alone would hide everything: what hangs below it is closed then.
const closeAll = (tree) => {
  for (const concept of tree.order)
    if (tree.children[concept].length && (tree.tops.length > 1 || tree.depths[concept] > 1)) tree.closed.add(concept);
};

// A list of many rows begins closed.
const ROWS = 400;
const shorten = () => {
  if (view.kind === "layered" && !view.tree.closed.size && COUNT > ROWS) closeAll(view.tree);
};

const showFold = () => {
  const all = view.tree.closed.size > 0;
  const text = all ? "Open all branches" : "Close all branches";
  fold.setAttribute("aria-pressed", String(all));
  fold.setAttribute("aria-label", text);
  fold.title = text;
};
fold.addEventListener("click", () => {
  const { tree } = view;
  const opening = tree.closed.size > 0;
  tree.closed.clear();
  if (!opening) closeAll(tree);
  if (view.selected !== ROOT) choose(opening ? view.selected : ROOT);
  arrange();
  showFold();
  fit();
  announce(opening ? "All branches open" : "All branches closed");
});

// The legend brings one cluster out.
const legend = byId("legend");
const showLegend = () => {
  const counts = new Map();
  for (const cluster of data.cluster) counts.set(cluster, (counts.get(cluster) ?? 0) + 1);
  const entry = (cluster, name) =>
    h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(view.cluster === cluster),
          onclick: () => {
            view.cluster = view.cluster === cluster ? null : cluster;
            for (const button of legend.querySelectorAll("button"))
              button.setAttribute("aria-pressed", String(Number(button.dataset.cluster) === view.cluster));
            redraw();
          },
          "data-cluster": cluster,
        },
        h("span", { class: "dot", style: `background:${colourOf(cluster)}`, "aria-hidden": "true" }),
        h("span", { class: "name" }, name),
        h("span", { class: "quiet" }, String(counts.get(cluster))),
      ),
    );
  legend.hidden = !data.clusters.length;
  legend
    .querySelector("ul")
    .replaceChildren(
      ...data.clusters.map(({ name }, cluster) => entry(cluster, name)),
      ...(counts.has(-1) && data.clusters.length ? [entry(-1, "not known")] : []),
    );
};

// What the trees are, how they score, which keys there are.
const facts = byId("facts");
const COLUMNS = [
  ["edges", "edges", (scores) => scores.edges],
  ["at the top", "at_root", (scores) => scores.at_root],
  ["depth", "depth", (scores) => scores.depth],
  ["same cluster", "same_cluster", (scores) => figure(scores.same_cluster?.share)],
  ["edge F1", "edge", (scores) => figure(scores.edge?.f1)],
  ["ancestor F1", "ancestor", (scores) => figure(scores.ancestor?.f1)],
  ["distance", "proxy_distance", (scores) => figure(scores.proxy_distance)],
];
const showFacts = () => {
  const columns = COLUMNS.filter(([, key]) => data.trees.some(({ scores }) => key in scores));
  facts.replaceChildren(
    h("h2", { id: "facts-title" }, data.title),
    h("p", {}, data.about),
    h(
      "div",
      { class: "wide" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h("tr", {}, ...["tree", ...columns.map(([name]) => name)].map((name) => h("th", { scope: "col" }, name))),
        ),
        h(
          "tbody",
          {},
          ...trees.map(({ label, scores }) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, label),
              ...columns.map(([, key, value]) => h("td", {}, key in scores ? String(value(scores)) : "–")),
            ),
          ),
        ),
      ),
    ),
    h("dl", { class: "what" }, ...trees.flatMap(({ label, what }) => [h("dt", {}, label), h("dd", {}, what)])),
    h(
      "p",
      { class: "quiet" },
      "Same cluster: the share of parent-child edges within one known cluster. F1: agreement with the known tree. " +
        "Distance: the mean over edges in another embedding; lower is better. Edges from the root are left out.",
    ),
    h(
      "dl",
      { class: "keylist" },
      ...[
        ["← →", "parent, first child"],
        ["↑ ↓", "neighbours"],
        ["Shift + arrows", "move the picture"],
        ["+ − 0", "zoom, show all"],
        ["Enter", "open or close a branch (or double click)"],
        ["P", "play a track"],
        ["/", "search"],
      ].map(([keys, does]) => h("div", {}, h("dt", {}, h("kbd", {}, keys)), h("dd", {}, does))),
    ),
    h("form", { method: "dialog" }, h("button", { class: "primary" }, "Close")),
  );
};
byId("about").addEventListener("click", () => {
  showFacts();
  facts.showModal();
});
facts.addEventListener("click", (event) => event.target === facts && facts.close());

dark.addEventListener("change", () => {
  readColours();
  showLegend();
  showPanel();
  redraw();
});
if (matchMedia("(max-width: 40rem)").matches) legend.open = false;
readColours();
showLegend();
showFold();
arrange({ move: false });
new ResizeObserver(resize).observe(canvas);
resize();
