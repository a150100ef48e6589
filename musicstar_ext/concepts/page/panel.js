// The chosen concept in words: what it is, where it hangs, and its tracks to listen to.
const panel = byId("panel");
const sound = new Audio();
sound.preload = "none";
let playing = null; // the track that sounds

const source = (track) => {
  const kept = byId(`audio-${track}`);
  return kept ? `data:audio/flac;base64,${kept.textContent}` : data.tracks[track].link;
};

const stop = () => {
  playing = null;
  sound.pause();
  showPlaying();
};

const play = (track) => {
  if (playing === track) return stop();
  playing = track;
  sound.src = source(track);
  sound.play().catch((error) => {
    if (error.name === "AbortError" || playing !== track) return; // another was chosen meanwhile
    stop();
    announce(`${data.tracks[track].name} cannot be played`);
    const note = panel.querySelector(".wrong");
    if (note) note.textContent = `${data.tracks[track].name} cannot be played: is the file still where it was?`;
  });
  showPlaying();
  announce(`Playing ${data.tracks[track].name}`);
};
sound.addEventListener("ended", stop);
sound.addEventListener("timeupdate", () => showPlaying());

const showPlaying = () => {
  for (const button of panel.querySelectorAll("[data-track]")) {
    const is = Number(button.dataset.track) === playing;
    button.classList.toggle("pause", is);
    button.setAttribute("aria-pressed", is);
    const share = is && sound.duration > 0 ? sound.currentTime / sound.duration : 0;
    button.closest("li").style.setProperty("--at", `${100 * share}%`);
  }
};

const go = (concept, label) =>
  h(
    "button",
    { class: "go", type: "button", onclick: () => choose(concept, { focus: true }) },
    h("span", { class: "dot", style: `background:${colourOf(data.cluster[concept])}`, "aria-hidden": "true" }),
    label ?? data.names[concept],
  );

const trackRow = ([track, score]) => {
  const { name, link } = data.tracks[track];
  const playable = byId(`audio-${track}`) || link;
  return h(
    "li",
    {},
    playable
      ? h(
          "button",
          {
            class: "play",
            type: "button",
            "data-track": track,
            "aria-pressed": "false",
            "aria-label": `Play ${name}`,
            onclick: () => play(track),
          },
          h("span", { class: "icon" }),
        )
      : null,
    h("span", { class: "name", title: name }, name.split("/").slice(-2).join("/")),
    h("span", { class: "quiet", title: "How strongly the concept fires on this track" }, score.toFixed(2)),
  );
};

const CHILDREN = 30; // listed at once

const showPanel = () => {
  const concept = view.selected;
  panel.hidden = concept === ROOT;
  byId("stage").classList.toggle("chosen", concept !== ROOT);
  if (concept === ROOT) return;
  const { tree } = view;
  const children = tree.children[concept];
  const above = tree.path(concept).slice(0, -1);
  const closed = tree.closed.has(concept);
  const row = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  panel.replaceChildren(
    h(
      "div",
      { class: "head" },
      h("h2", {}, data.names[concept]),
      h("button", { class: "close", type: "button", "aria-label": "Close", onclick: () => choose(ROOT) }, "×"),
    ),
    clusterName(concept)
      ? h(
          "p",
          { class: "cluster" },
          h("span", { class: "dot", style: `background:${colourOf(data.cluster[concept])}`, "aria-hidden": "true" }),
          clusterName(concept),
        )
      : "",
    h(
      "dl",
      {},
      row("Balanced accuracy", percent(data.accuracy[concept])),
      row("AUC", figure(data.auc[concept])),
      row("Tracks", String(data.counts[concept])),
      row("Similarity to parent", figure(tree.similarity[concept])),
    ),
    data.examples[concept].length ? h("h3", {}, "Tracks where it fires most") : "",
    h("ul", { class: "tracks" }, ...data.examples[concept].map(trackRow)),
    h("p", { class: "wrong", role: "alert" }),
    h("h3", {}, "Above"),
    above.length
      ? h("p", { class: "path" }, ...above.map((each) => go(each)))
      : h("p", { class: "quiet" }, "At the top of the tree."),
    h(
      "h3",
      {},
      children.length ? `Below: ${many(children.length, "concept")}, ${tree.below[concept]} in all` : "Below",
    ),
    children.length
      ? h(
          "div",
          {},
          h(
            "button",
            { class: "toggle", type: "button", "aria-expanded": String(!closed), onclick: () => toggle(concept) },
            closed ? "Open branch" : "Close branch",
          ),
          h("p", { class: "path" }, ...children.slice(0, CHILDREN).map((each) => go(each))),
          children.length > CHILDREN ? h("p", { class: "quiet" }, `and ${children.length - CHILDREN} more`) : "",
        )
      : h("p", { class: "quiet" }, "Nothing: a leaf."),
  );
  showPlaying();
};

const describe = (concept) => {
  const { tree } = view;
  const below = tree.children[concept].length;
  return [
    data.names[concept],
    clusterName(concept),
    data.accuracy[concept] === null ? "" : `accuracy ${percent(data.accuracy[concept])}`,
    many(data.counts[concept], "track"),
    `level ${tree.depths[concept]}`,
    below ? `${many(below, "child", "children")}${tree.closed.has(concept) ? ", closed" : ""}` : "",
  ]
    .filter(Boolean)
    .join(", ");
};

// Make a concept the chosen one (ROOT for none): its panel opens, and it comes into sight.
const choose = (concept, { near = false, focus = false } = {}) => {
  if (concept !== view.selected && playing !== null) stop();
  if (concept !== ROOT) {
    const size = view.tree.closed.size;
    view.tree.open(concept);
    if (size !== view.tree.closed.size) arrange();
  }
  view.selected = concept;
  hideTip();
  showPanel();
  if (concept !== ROOT) {
    reveal(concept, near ? 0.9 : 0);
    announce(describe(concept));
    if (focus) panel.querySelector(".close").focus({ preventScroll: true });
  }
  redraw();
};

const toggle = (concept) => {
  if (!view.tree.children[concept].length) return;
  const { closed } = view.tree;
  if (!closed.delete(concept)) closed.add(concept);
  const before = screenPlace(concept);
  arrange();
  const after = screenPlace(concept);
  pan(before.x - after.x, before.y - after.y); // the branch stays where it was clicked
  showFold();
  if (view.selected === concept) showPanel();
  announce(`${data.names[concept]} ${closed.has(concept) ? "closed" : "open"}`);
};
