// What the rater has done, kept in localStorage after every change, and what follows from it: orders, what is missing,
// the result.
const survey = JSON.parse(document.getElementById("survey").textContent);
const STORE = `musicstar-survey/${survey.id}`;
const RATER = /^[A-Za-z0-9._-]{1,40}$/;
const fresh = () => ({
  rater: "",
  started: "",
  finished: "",
  step: 0,
  device: "",
  comment: "",
  rankings: {},
  heard: {},
  volume: 1,
  loop: true,
  keys: true,
});

let state = fresh();
let kept = true; // whether this browser keeps what is stored

const store = () => {
  try {
    localStorage.setItem(STORE, JSON.stringify(state));
  } catch {
    kept = false; // a private window, or storage switched off
  }
};
const restore = () => {
  try {
    const text = localStorage.getItem(STORE);
    const found = text ? JSON.parse(text) : {};
    state = fresh();
    for (const name of Object.keys(state)) {
      // Anyone can have written there: what is not of its kind is not taken.
      if (typeof found[name] === typeof state[name] && found[name] !== null) state[name] = found[name];
    }
  } catch {
    state = fresh();
  }
};
const pieceOrder = () =>
  shuffled(
    survey.pieces.map(({ id }) => id),
    survey.id,
    state.rater,
  ).map((id) => survey.pieces.find((piece) => piece.id === id));
const versionOrder = (piece) => shuffled(piece.outputs, survey.id, state.rater, piece.id);
const ranked = (piece, question) =>
  [...new Set(state.rankings[piece.id]?.[question.id] ?? [])].filter((id) => piece.outputs.includes(id));
const missing = (piece) => survey.questions.filter((question) => ranked(piece, question).length < piece.outputs.length);
const heard = (piece, id) => state.heard[piece.id]?.[id] ?? 0; // milliseconds

const result = () =>
  sealed({
    format: survey.resultFormat,
    survey: survey.id,
    rater: state.rater,
    started: state.started,
    finished: state.finished,
    device: state.device,
    comment: state.comment.replace(/[\ud800-\udfff]/gu, "\ufffd"), // halves of characters have no UTF-8
    pieces: pieceOrder().map((piece) => ({
      piece: piece.id,
      order: versionOrder(piece),
      heard: Object.fromEntries(
        [piece.input, piece.gold, ...piece.outputs].map((id) => [id, Math.round(heard(piece, id))]),
      ),
      rankings: Object.fromEntries(survey.questions.map((question) => [question.id, ranked(piece, question)])),
    })),
  });
