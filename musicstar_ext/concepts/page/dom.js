// h("button", {class: "big", onclick: f}, "text", child): an element.
const h = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
};

const byId = (id) => document.getElementById(id);

const announce = (text) => {
  const live = byId("live");
  live.textContent = "";
  setTimeout(() => {
    live.textContent = text;
  }, 30); // a change, even where the text is the same as before
};

const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
