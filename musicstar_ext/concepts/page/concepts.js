// What the page is about: concepts 0, 1, ..., and trees over them. The root is not a concept: ROOT.
const data = JSON.parse(byId("data").textContent);
const ROOT = -1;
const COUNT = data.names.length;

// A tree with its branches: which are closed is remembered for each algorithm.
class Tree {
  constructor({ id, label, what, parents, similarity, scores }) {
    Object.assign(this, { id, label, what, parents, similarity, scores });
    this.children = Array.from({ length: COUNT }, () => []);
    this.tops = [];
    parents.forEach((parent, concept) => this.childrenOf(parent).push(concept));
    this.order = [...this.tops]; // parents before children
    for (let at = 0; at < this.order.length; at++) this.order.push(...this.children[this.order[at]]);
    this.below = new Array(COUNT).fill(0); // all descendants
    for (const concept of [...this.order].reverse())
      if (parents[concept] !== ROOT) this.below[parents[concept]] += 1 + this.below[concept];
    // Wide branches first, names within: the same order wherever the tree is drawn.
    const rank = (a, b) => this.below[b] - this.below[a] || data.names[a].localeCompare(data.names[b]);
    for (const siblings of [this.tops, ...this.children]) siblings.sort(rank);
    this.depths = new Array(COUNT).fill(1);
    for (const concept of this.order)
      if (parents[concept] !== ROOT) this.depths[concept] = this.depths[parents[concept]] + 1;
    this.closed = new Set();
  }

  childrenOf(concept) {
    return concept === ROOT ? this.tops : this.children[concept];
  }

  shownChildren(concept) {
    return this.closed.has(concept) ? [] : this.childrenOf(concept);
  }

  // From the top down to the concept itself.
  path(concept) {
    const path = [];
    for (let at = concept; at !== ROOT; at = this.parents[at]) path.unshift(at);
    return path;
  }

  open(concept) {
    for (const above of this.path(concept).slice(0, -1)) this.closed.delete(above);
  }

  // Depth first, without what closed branches hide: [concepts].
  shown() {
    const shown = [];
    const left = [...this.tops].reverse();
    while (left.length) {
      const concept = left.pop();
      shown.push(concept);
      left.push(...[...this.shownChildren(concept)].reverse());
    }
    return shown;
  }
}

const trees = data.trees.map((each) => new Tree(each));

const dark = matchMedia("(prefers-color-scheme: dark)");
const colourOf = (cluster) =>
  cluster < 0 ? (dark.matches ? "#8b90a0" : "#777b86") : data.clusters[cluster][dark.matches ? "dark" : "light"];
const clusterName = (concept) => (data.cluster[concept] < 0 ? "" : data.clusters[data.cluster[concept]].name);
const percent = (value) => (value === null ? "not measured" : `${Math.round(100 * value)} %`);
const figure = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
