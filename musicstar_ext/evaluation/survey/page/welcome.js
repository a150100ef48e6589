// The first page: what to do, and who listens how.
const notKept = () =>
  kept
    ? null
    : h(
        "p",
        { class: "alert" },
        "This browser does not keep what you do here (a private window?): " +
          "please finish without closing or reloading the page.",
      );

const welcome = () => {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(5)), (byte) =>
    byte.toString(36).padStart(2, "0"),
  ).join("");
  const count = survey.pieces[0].outputs.length;
  const pieces = survey.pieces.length;
  const minutes = Math.max(
    2,
    Math.ceil(survey.pieces.reduce((sum, piece) => sum + piece.seconds * (count + 2) * 1.5 + 45, 0) / 60),
  );
  const begun = Object.keys(state.rankings).length > 0;
  const rater = h("input", {
    id: "rater",
    name: "rater",
    maxlength: 40,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: `r-${random}`,
    "aria-describedby": "rater-note rater-wrong",
    value: state.rater,
    readonly: begun, // the orders follow from the name
  });
  const wrong = h("p", { id: "rater-wrong", class: "wrong", role: "alert" });
  const device = h(
    "select",
    { id: "device" },
    ...[
      ["", "Please choose (optional)"],
      ["headphones", "Headphones or earphones"],
      ["loudspeakers", "Loudspeakers"],
      ["built-in", "A laptop’s or phone’s own speaker"],
    ].map(([value, text]) => h("option", { value, selected: value === state.device }, text)),
  );
  const begin = (event) => {
    event.preventDefault();
    const name = rater.value.trim() || `r-${random}`;
    if (!RATER.test(name)) {
      wrong.textContent = "Please use letters without accents, digits, dots, hyphens and underscores only, at most 40.";
      rater.setAttribute("aria-invalid", "true");
      rater.focus();
      return;
    }
    Object.assign(state, { rater: name, device: device.value, started: state.started || new Date().toISOString() });
    player.load(pieceOrder()[0]).catch(() => {}); // the click lets this browser play sound
    show(1);
  };
  return [
    h("h1", {}, survey.title),
    h(
      "p",
      { class: "lead" },
      `Software has played ${pieces === 1 ? "a piece" : `${pieces} pieces`} of music on other instruments. ` +
        "Which result is the best? Your ears decide.",
    ),
    notKept(),
    h(
      "ol",
      { class: "how" },
      h(
        "li",
        {},
        h("strong", {}, "Listen. "),
        `For each piece there is the input (${survey.inputLabel}), a reference (${survey.goldLabel}) and ${count} ` +
          "versions by different methods, in random order. Switch between them at any moment; the music goes on at " +
          "the same place.",
      ),
      h(
        "li",
        {},
        h("strong", {}, "Rank. "),
        `Put the ${count} versions in order, the best on top, for ${survey.questions.length} questions: ` +
          `${survey.questions.map(({ name }) => name.toLowerCase()).join(", ")}. ` +
          "Drag them, tap their buttons, or use the keyboard.",
      ),
      h(
        "li",
        {},
        h("strong", {}, "Send. "),
        "At the end you download one small file and send it to the person who invited you.",
      ),
    ),
    h(
      "p",
      { class: "quiet" },
      `About ${minutes} minutes. Headphones and a quiet room are best. On an iPhone, switch silent mode off. ` +
        "What you do is kept in this browser, so you can stop and come back; nothing is sent anywhere.",
    ),
    h(
      "form",
      { class: "start", novalidate: true, onsubmit: begin },
      h(
        "div",
        { class: "field" },
        h("label", { for: "rater" }, "Your name or code"),
        rater,
        h("p", { id: "rater-note", class: "quiet" }, "It will be in your result. Leave it empty to stay anonymous."),
        wrong,
      ),
      h("div", { class: "field" }, h("label", { for: "device" }, "You listen with"), device),
      h("button", { class: "primary", type: "submit" }, begun ? "Continue" : "Start"),
    ),
  ];
};
