// The player, the keys that drive it, and the time that each version is heard.
let shown = null; // what the piece's page consists of, while one is shown

const player = new Player(() => {
  shown?.showPlayback();
});

const hear = (id) => {
  player.choose(id);
  if (!player.playing) player.play();
};

addEventListener("keydown", (event) => {
  if (
    !shown?.ready ||
    !state.keys ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    document.querySelector("dialog[open]")
  )
    return;
  const at = event.target;
  const typing = at.matches("textarea, select, input:not([type=range]):not([type=checkbox])");
  if (typing) return;
  const number = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  const actions = {
    " ": () => (player.playing ? player.pause() : player.play()),
    i: () => hear(shown.piece.input),
    r: () => hear(shown.piece.gold),
    l: () => player.setLoop(!player.loop),
    "-": () => player.setVolume(player.volume - 0.1),
    "+": () => player.setVolume(player.volume + 0.1),
    "=": () => player.setVolume(player.volume + 0.1),
    ArrowLeft: () => player.seek(player.position() - 2),
    ArrowRight: () => player.seek(player.position() + 2),
  };
  // A key that the focused control uses itself stays with it.
  if (at.matches("button, input, summary, a") && event.key === " ") return;
  if (at.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  const action = number
    ? shown.versions[number - 1] && (() => hear(shown.versions[number - 1].id))
    : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// Time heard is counted while the page plays, and the position shown.
let lastTick = performance.now();
let unsaved = 0;
const tick = (now) => {
  const passed = Math.min(1000, now - lastTick);
  lastTick = now;
  if (shown?.ready) {
    if (player.playing) {
      const times = (state.heard[shown.piece.id] ??= {});
      const before = times[player.active] ?? 0;
      times[player.active] = before + passed;
      if (before < 1000 && times[player.active] >= 1000) shown.showPlayback();
      unsaved += passed;
      if (unsaved > 2000) {
        unsaved = 0;
        store();
      }
    }
    shown.showPosition();
  }
  requestAnimationFrame(tick);
};
requestAnimationFrame(tick);
