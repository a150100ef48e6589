const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// A piece's page: the player, and a ranking for each question.
const piecePage = (index) => {
  const piece = pieceOrder()[index];
  const versions = versionOrder(piece).map((id, i) => ({ id, letter: String.fromCharCode(65 + i) }));
  const chip = (id, key, label, kind) =>
    h(
      "button",
      { type: "button", class: `chip ${kind}`, "data-id": id, "aria-pressed": "false", onclick: () => hear(id) },
      h("span", { class: "name" }, label),
      h("kbd", { "aria-hidden": "true" }, key),
    );
  const chips = [
    chip(piece.input, "I", "Input", "given"),
    chip(piece.gold, "R", "Reference", "given"),
    ...versions.map(({ id, letter }, i) => chip(id, String(i + 1), letter, "version")),
  ];
  chips.slice(2).forEach((button, i) => button.setAttribute("aria-label", `Version ${versions[i].letter}`));
  const seek = h("input", {
    type: "range",
    id: "seek",
    min: 0,
    max: piece.seconds,
    step: 0.1,
    value: 0,
    "aria-label": "Position",
    oninput: () => player.seek(Number(seek.value)),
  });
  const play = h(
    "button",
    {
      type: "button",
      class: "play",
      "aria-label": "Play",
      onclick: () => (player.playing ? player.pause() : player.play()),
    },
    h("span", { class: "icon", "aria-hidden": "true" }),
  );
  const time = h("span", { class: "time" });
  const loop = h(
    "button",
    { type: "button", class: "toggle", "aria-pressed": "true", onclick: () => player.setLoop(!player.loop) },
    "Loop",
  );
  const volume = h("input", {
    type: "range",
    id: "volume",
    min: 0,
    max: 1,
    step: 0.05,
    value: state.volume,
    "aria-label": "Volume",
    oninput: () => player.setVolume(Number(volume.value)),
  });
  const note = h("p", { class: "loading", role: "status" }, "Loading the music …");
  const bar = h(
    "section",
    { class: "player", "aria-label": "Player" },
    h("div", { class: "chips", role: "group", "aria-label": "What is heard" }, ...chips),
    h(
      "div",
      { class: "transport" },
      play,
      seek,
      time,
      loop,
      h("label", { class: "volume" }, h("span", { "aria-hidden": "true" }, "Volume"), volume),
    ),
    note,
  );

  const rankings = survey.questions.map(
    (question) =>
      new Ranking(question, versions, ranked(piece, question), {
        announce,
        onPlay: hear,
        onChange: (ids) => {
          (state.rankings[piece.id] ??= {})[question.id] = ids;
          state.finished = "";
          store();
          showLeft();
        },
      }),
  );

  const left = h("p", { class: "left", id: "left", role: "status" });
  const next = h(
    "button",
    {
      type: "button",
      class: "primary",
      "aria-describedby": "left",
      onclick: () => {
        const lacking = missing(piece);
        if (!lacking.length) return show(state.step + 1);
        left.classList.add("urgent");
        announce(left.textContent);
        const first = rankings.find(({ question }) => question === lacking[0]);
        first.element.scrollIntoView({ block: "center" });
        return first.pool.querySelector(".item").focus({ preventScroll: true });
      },
    },
    index + 1 < survey.pieces.length ? "Next piece" : "Finish",
  );
  const showLeft = () => {
    const lacking = missing(piece);
    const unheard = versions.filter(({ id }) => heard(piece, id) < 1000).map(({ letter }) => letter);
    left.classList.toggle("urgent", left.classList.contains("urgent") && lacking.length > 0);
    left.textContent = lacking.length
      ? `Still to rank: ${lacking.map(({ name }) => name.toLowerCase()).join(", ")}.`
      : unheard.length
        ? `All ranked. You have not listened to ${unheard.join(", ")} yet.`
        : "All ranked.";
    next.setAttribute("aria-disabled", String(lacking.length > 0));
  };

  const page = {
    piece,
    versions,
    ready: false,
    showPlayback() {
      const { active, playing } = player;
      for (const button of chips) {
        const on = button.dataset.id === active;
        button.setAttribute("aria-pressed", String(on));
        button.classList.toggle("playing", on && playing);
        const known = heard(piece, button.dataset.id) >= 1000;
        button.classList.toggle("heard", known);
        button.title = known ? "listened to" : "";
      }
      rankings.forEach((ranking) => ranking.markPlaying(active, playing));
      play.setAttribute("aria-label", playing ? "Pause" : "Play");
      play.classList.toggle("pause", playing);
      loop.setAttribute("aria-pressed", String(player.loop));
      volume.value = player.volume;
      if (state.volume !== player.volume || state.loop !== player.loop) {
        Object.assign(state, { volume: player.volume, loop: player.loop });
        store();
      }
      showLeft();
      this.showPosition();
    },
    showPosition() {
      const position = player.position();
      if (document.activeElement !== seek || player.playing) seek.value = position;
      seek.style.setProperty("--at", `${(100 * position) / (player.duration || 1)}%`);
      volume.style.setProperty("--at", `${100 * player.volume}%`);
      const text = `${clock(position)} / ${clock(Math.round(player.duration || piece.seconds))}`;
      if (time.textContent !== text) {
        time.textContent = text;
        seek.setAttribute("aria-valuetext", text.replace("/", "of"));
      }
    },
  };
  shown = page;

  const load = () => {
    note.hidden = false;
    note.classList.remove("alert");
    note.replaceChildren("Loading the music …");
    bar.classList.add("waiting");
    const following = pieceOrder()[index + 1];
    player.load(piece, following ? [following.id] : []).then(
      (buffers) => {
        if (shown !== page) return;
        player.use(buffers, piece.input);
        seek.max = player.duration;
        page.ready = true;
        note.hidden = true;
        bar.classList.remove("waiting");
        page.showPlayback();
        if (following) player.load(following, [piece.id]).catch(() => {});
      },
      (error) => {
        if (shown !== page) return;
        note.classList.add("alert");
        note.replaceChildren(
          `The music cannot be loaded (${error.message}). Is the folder complete? `,
          h("button", { type: "button", onclick: load }, "Try again"),
        );
      },
    );
  };
  load();
  showLeft();

  return [
    h("h1", { class: "unseen" }, `Piece ${index + 1} of ${survey.pieces.length}`),
    bar,
    h(
      "p",
      { class: "unseen", id: "ranking-keys" },
      "Arrow up or down moves it, Home and End move it to an end, Delete takes it out, Enter plays it.",
    ),
    h("div", { class: "questions" }, ...rankings.map(({ element }) => element)),
    help(versions.length),
    h(
      "nav",
      { class: "nav", "aria-label": "Steps" },
      h("button", { type: "button", onclick: () => show(state.step - 1) }, "Back"),
      left,
      next,
    ),
  ];
};

const help = (count) => {
  const keys = [
    ["Space", "play, pause"],
    ["I", "input"],
    ["R", "reference"],
    [`1 – ${count}`, `versions A – ${String.fromCharCode(64 + count)}`],
    ["← →", "2 seconds back, on"],
    ["L", "loop"],
    ["− +", "volume"],
    ["Tab", "next version or control"],
    ["↑ ↓", "on a version: rank it, move it"],
    ["Home End", "on a version: first, last"],
    ["Delete", "on a version: take it out"],
    ["Enter", "on a version: play it"],
  ];
  return h(
    "details",
    { class: "help" },
    h("summary", {}, "Keyboard"),
    h(
      "dl",
      {},
      ...keys.map(([key, text]) =>
        h(
          "div",
          {},
          h("dt", {}, ...key.split(" ").map((k) => (k === "–" ? " – " : h("kbd", {}, k)))),
          h("dd", {}, text),
        ),
      ),
    ),
    h(
      "label",
      { class: "check" },
      h("input", {
        type: "checkbox",
        checked: state.keys,
        onchange: (event) => {
          state.keys = event.target.checked;
          store();
        },
      }),
      " Single-key shortcuts",
    ),
  );
};
