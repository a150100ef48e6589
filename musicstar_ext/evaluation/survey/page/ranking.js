// One question's ranking: a list of versions, best first, and those not ranked yet.
//
// Three ways to rank, each enough alone: drag (mouse, pen, finger), the buttons on an item, and the keyboard on a
// focused item (arrow keys, Home, End, Delete). Every change is announced to screen readers.
const ordinal = (n) => n + (["th", "st", "nd", "rd"][n % 100 > 10 && n % 100 < 14 ? 0 : n % 10] ?? "th");

class Ranking {
  // versions: [{id, letter}] in the order shown; ranked: ids, best first; onChange(ids); onPlay(id); announce(text)
  constructor(question, versions, ranked, { onChange, onPlay, announce }) {
    Object.assign(this, { question, versions, ranked: [...ranked], onChange, onPlay, announce });
    this.items = new Map(versions.map((version) => [version.id, this.makeItem(version)]));
    this.list = h("ol", { class: "ranked", "aria-label": `${question.name}: ranking, best first` });
    this.pool = h("ul", { class: "pool", "aria-label": `${question.name}: not ranked yet` });
    this.waiting = h("div", { class: "waiting" }, h("h4", {}, "Not ranked yet"), this.pool);
    this.done = h("span", { class: "done" });
    this.element = h(
      "section",
      { class: "question", "aria-labelledby": `question-${question.id}`, "data-question": question.id },
      h("h3", { id: `question-${question.id}` }, question.name, this.done),
      h("p", { class: "ask" }, question.text),
      this.list,
      this.waiting,
    );
    this.element.addEventListener("pointerdown", (event) => this.grab(event));
    this.arrange();
  }

  makeItem({ id, letter }) {
    const name = `Version ${letter}`;
    const item = h(
      "li",
      { class: "item", tabindex: 0, "data-id": id, "aria-describedby": "ranking-keys" },
      h("span", { class: "grip", "aria-hidden": "true", title: "Drag" }),
      h(
        "button",
        {
          type: "button",
          class: "hear",
          tabindex: -1,
          "aria-label": `Play version ${letter}`,
          onclick: () => this.onPlay(id),
        },
        h("span", { class: "long" }, "Version "),
        letter,
      ),
      h(
        "button",
        {
          type: "button",
          class: "add",
          tabindex: -1,
          "aria-label": `${name}: into the ranking`,
          onclick: () => this.move(id, this.ranked.length, "add"),
        },
        "+",
      ),
      h(
        "button",
        {
          type: "button",
          class: "up",
          tabindex: -1,
          "aria-label": `${name}: up`,
          onclick: () => this.move(id, this.ranked.indexOf(id) - 1, "up"),
        },
        "↑",
      ),
      h(
        "button",
        {
          type: "button",
          class: "down",
          tabindex: -1,
          "aria-label": `${name}: down`,
          onclick: () => this.move(id, this.ranked.indexOf(id) + 1, "down"),
        },
        "↓",
      ),
    );
    item.addEventListener("keydown", (event) => this.key(event, id));
    return item;
  }

  key(event, id) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const at = this.ranked.indexOf(id);
    const target = {
      ArrowUp: at < 0 ? this.ranked.length : Math.max(0, at - 1),
      ArrowDown: at < 0 ? this.ranked.length : at + 1,
      Home: 0,
      End: this.versions.length,
      Delete: -1,
      Backspace: -1,
    }[event.key];
    if (event.key === "Enter" && event.target === event.currentTarget) this.onPlay(id);
    else if (target === undefined) return;
    else this.move(id, target);
    event.preventDefault();
    event.stopPropagation();
  }

  // Put a version at an index of the ranking; -1 takes it out.
  move(id, index, pressed) {
    const rest = this.ranked.filter((other) => other !== id);
    if (index >= 0) rest.splice(Math.min(index, rest.length), 0, id);
    this.set(rest, id);
    const item = this.items.get(id);
    const button = pressed && item.querySelector(`.${pressed}`);
    (button && button.offsetParent && !button.disabled ? button : item).focus();
  }

  set(ranked, moved) {
    const changed = ranked.join() !== this.ranked.join();
    this.ranked = ranked;
    this.arrange();
    if (moved !== undefined) {
      const { letter } = this.versions.find(({ id }) => id === moved);
      const place = ranked.indexOf(moved);
      const where = place < 0 ? "is not ranked" : `is ${ordinal(place + 1)} of ${this.versions.length}`;
      const left = this.versions.length - ranked.length;
      this.announce(
        `${this.question.name}: version ${letter} ${where}.${left ? ` ${left} not ranked yet.` : " All ranked."}`,
      );
    }
    if (changed) this.onChange(ranked);
  }

  // Make the two lists show `this.ranked`.
  arrange() {
    this.list.replaceChildren(...this.ranked.map((id) => this.items.get(id)));
    this.pool.replaceChildren(
      ...this.versions.filter(({ id }) => !this.ranked.includes(id)).map(({ id }) => this.items.get(id)),
    );
    this.fillSlots();
    for (const { id, letter } of this.versions) {
      const item = this.items.get(id);
      const at = this.ranked.indexOf(id);
      item.style.transform = "";
      item.classList.remove("dragged");
      item.setAttribute(
        "aria-label",
        `Version ${letter}, ${at < 0 ? "not ranked yet" : `${ordinal(at + 1)} of ${this.versions.length}`}`,
      );
      item.querySelector(".up").disabled = at === 0;
      item.querySelector(".down").disabled = at === this.ranked.length - 1;
    }
    const all = this.ranked.length === this.versions.length;
    this.element.classList.toggle("complete", all);
    this.done.textContent = all ? "✓" : `${this.ranked.length}/${this.versions.length}`;
    this.done.setAttribute(
      "aria-label",
      all ? "all ranked" : `${this.ranked.length} of ${this.versions.length} ranked`,
    );
  }

  // Empty places at the end of the ranking, so that its size and what is missing can be seen.
  fillSlots() {
    this.list.querySelectorAll(".slot").forEach((slot) => slot.remove());
    const last = this.versions.length - 1;
    for (let i = this.list.children.length; i <= last; i++) {
      this.list.append(h("li", { class: "slot", "aria-hidden": "true" }, i === 0 ? "best" : i === last ? "worst" : ""));
    }
    // The space stays, so that nothing below jumps when the last one is ranked.
    this.waiting.classList.toggle("empty", !this.pool.children.length);
  }

  markPlaying(id, playing) {
    for (const [other, item] of this.items) {
      item.classList.toggle("chosen", other === id);
      item.classList.toggle("playing", other === id && playing);
    }
  }

  // --- Dragging. The pointer is captured by the section, for the item itself moves between the lists meanwhile. ---

  grab(event) {
    const item = event.target.closest(".item");
    // A finger on an item scrolls the page; only the grip drags. A mouse drags anywhere but on a button.
    const grip = event.target.closest(".grip");
    if (
      !item ||
      event.button !== 0 ||
      (!grip && (event.pointerType !== "mouse" || event.target.closest("button:not(.hear)")))
    )
      return;
    const from = { x: event.clientX, y: event.clientY };
    let dragging = false;
    let last = event;
    const follow = (move) => {
      last = move;
      if (!dragging && Math.hypot(move.clientX - from.x, move.clientY - from.y) < 5) return;
      if (!dragging) {
        dragging = true;
        this.element.setPointerCapture(event.pointerId);
        item.classList.add("dragged");
        document.body.classList.add("dragging");
        requestAnimationFrame(scroll);
      }
      move.preventDefault();
      this.drag(item, move.clientX, move.clientY);
    };
    const scroll = () => {
      if (!dragging) return;
      const covered = document.querySelector(".player")?.getBoundingClientRect();
      const bottom = covered && covered.top > innerHeight / 2 ? covered.top : innerHeight;
      const top = covered && covered.top < innerHeight / 2 ? covered.bottom : 0;
      const step = last.clientY < top + 40 ? -6 : last.clientY > bottom - 40 ? 6 : 0;
      if (step) {
        scrollBy(0, step);
        this.drag(item, last.clientX, last.clientY);
      }
      requestAnimationFrame(scroll);
    };
    const end = (up) => {
      for (const [type, listener] of listeners) removeEventListener(type, listener);
      document.body.classList.remove("dragging");
      if (!dragging) return;
      dragging = false;
      const dropped = [...this.list.querySelectorAll(".item")].map((other) => other.dataset.id);
      if (up.type === "pointerup") {
        // The click that follows a drag is not one on the item's button.
        addEventListener("click", stop, { capture: true, once: true });
        setTimeout(() => removeEventListener("click", stop, { capture: true }));
        this.set(dropped, item.dataset.id);
      } else this.arrange();
      item.focus({ preventScroll: true });
    };
    const stop = (click) => {
      click.stopPropagation();
      click.preventDefault();
    };
    const cancel = (key) => {
      if (key.key === "Escape" && dragging) end(key);
    };
    const listeners = [
      ["pointermove", follow],
      ["pointerup", end],
      ["pointercancel", end],
      ["keydown", cancel],
    ];
    for (const [type, listener] of listeners) addEventListener(type, listener);
  }

  drag(item, x, y) {
    item.style.transform = "";
    const pool = this.waiting.getBoundingClientRect();
    if (y > pool.top + 8 && y > this.list.getBoundingClientRect().bottom) {
      if (item.parentNode !== this.pool) this.pool.append(item);
    } else {
      const others = [...this.list.querySelectorAll(".item")].filter((other) => other !== item);
      const next = others.find((other) => {
        const { top, height } = other.getBoundingClientRect();
        return y < top + height / 2;
      });
      const before = next ?? this.list.querySelector(".slot");
      if (item.parentNode !== this.list || item.nextElementSibling !== before) this.list.insertBefore(item, before);
    }
    this.fillSlots();
    const { left, top, width, height } = item.getBoundingClientRect();
    const dx = item.parentNode === this.pool ? x - left - width / 2 : 0;
    item.style.transform = `translate(${dx}px, ${y - top - height / 2}px)`;
  }
}
