// The steps of the test: welcome, one a piece, finish.
const main = document.getElementById("main");
let opening = null; // the step that the page opens with

const announce = (text) => {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => {
    live.textContent = text;
  }, 30); // a change, even where the text is the same as before
};

const show = (step) => {
  player.pause();
  shown = null;
  state.step = Math.max(0, Math.min(survey.pieces.length + 1, step));
  store();
  const pieces = survey.pieces.length;
  document.getElementById("steps").textContent =
    state.step === 0 ? "" : state.step <= pieces ? `Piece ${state.step} of ${pieces}` : "Finish";
  document.getElementById("progress").style.width = `${(100 * state.step) / (pieces + 1)}%`;
  main.replaceChildren(
    ...(state.step === 0 ? welcome() : state.step <= pieces ? piecePage(state.step - 1) : finish()).filter(Boolean),
  );
  scrollTo(0, 0);
  // Screen readers begin at the new step, not at a button that is gone.
  if (step !== opening) main.focus({ preventScroll: true });
};

addEventListener("pagehide", store);
restore();
if (!RATER.test(state.rater)) state.step = 0;
player.volume = state.volume;
player.loop = state.loop;
store();
opening = state.step;
show(opening);
opening = null;
