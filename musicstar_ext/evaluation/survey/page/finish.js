// The last page: the result, as a file or as text.
const finish = () => {
  const order = pieceOrder();
  const lacking = order.filter((piece) => missing(piece).length);
  const links = h(
    "ul",
    { class: "review" },
    ...order.map((piece, i) =>
      h(
        "li",
        {},
        h("button", { type: "button", class: "plain", onclick: () => show(i + 1) }, `Piece ${i + 1}`),
        h("span", {}, missing(piece).length ? "not complete" : "✓ all ranked"),
      ),
    ),
  );
  if (lacking.length) {
    return [
      h("h1", {}, "Almost done"),
      h("p", { class: "alert" }, "Some versions are not ranked yet. Please complete these pieces:"),
      links,
    ];
  }
  if (!state.finished) state.finished = new Date().toISOString();
  store();
  const comment = h("textarea", {
    id: "comment",
    rows: 3,
    maxlength: 2000,
    oninput: () => {
      state.comment = comment.value;
      store();
    },
  });
  comment.value = state.comment;
  const text = () => JSON.stringify(result(), null, 1);
  const name = `survey-${survey.id}-${state.rater}.json`;
  const said = h("p", { class: "said", role: "status" });
  const box = h("textarea", {
    class: "json",
    rows: 8,
    readonly: true,
    hidden: true,
    "aria-label": "Your result as text",
  });
  const download = () => {
    const url = URL.createObjectURL(new Blob([text()], { type: "application/json" }));
    const link = h("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    said.textContent = `Saved as ${name}. Please send it to the person who invited you. Thank you!`;
  };
  const copy = async () => {
    box.value = text();
    let copied = false;
    try {
      await navigator.clipboard.writeText(box.value);
      copied = true;
    } catch {
      // not a secure page, or not permitted: the old way
      box.hidden = false;
      box.select();
      try {
        copied = document.execCommand("copy");
      } catch {
        /* the text is there to be copied by hand */
      }
    }
    said.textContent = copied
      ? "Copied. Please paste it into a message to the person who invited you. Thank you!"
      : "Please copy the text below and send it to the person who invited you. Thank you!";
  };
  const again = () => {
    if (!confirm("Forget this rater’s answers in this browser and begin again? Download them first.")) return;
    const { volume, keys } = state;
    state = { ...fresh(), volume, keys };
    show(0);
  };
  return [
    h("h1", {}, "All done"),
    h("p", { class: "lead" }, "You ranked everything. Save your result and send it to the person who invited you."),
    notKept(),
    h("div", { class: "field" }, h("label", { for: "comment" }, "Anything to add? (optional)"), comment),
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "primary", id: "download", onclick: download }, "Download my result"),
      h("button", { type: "button", id: "copy", onclick: copy }, "Copy it instead"),
    ),
    said,
    box,
    h("h2", {}, "Change something?"),
    links,
    h(
      "p",
      {},
      h("button", { type: "button", class: "plain", id: "again", onclick: again }, "Start again as another rater"),
    ),
  ];
};
