const byId = (id) => document.getElementById(id);

const announce = (text) => {
  const live = byId("live");
  live.textContent = "";
  setTimeout(() => {
    live.textContent = text;
  }, 30); // a change, even where the text is the same as before
};

const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;
