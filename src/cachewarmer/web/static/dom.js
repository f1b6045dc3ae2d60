// Small steps on the document. Everything that comes from outside is set as text, never as markup.

export const at = (selector, within = document) => within.querySelector(selector);

export function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Name/value pairs; the elements stay, so that a screen reader and a selection keep their place.
export function numbers(list, pairs) {
  while (list.children.length > pairs.length) list.lastChild.remove();
  pairs.forEach(([name, value, bad], place) => {
    if (!list.children[place]) list.append(made("div", {}, made("dt"), made("dd")));
    const [term, definition] = list.children[place].children;
    put(term, name);
    put(definition, value);
    definition.classList.toggle("bad", Boolean(bad));
    definition.classList.toggle("words", !/\d/.test(value));
  });
}

// A row for each key; `fill` fills a row that it gets, made by `make` once.
export function rows(body, entries, key, make, fill) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  entries.forEach((entry, place) => {
    const name = key(entry);
    let row = known.get(name);
    known.delete(name);
    if (!row) {
      row = make(entry);
      row.dataset.key = name;
    }
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    fill(row, entry);
  });
  for (const row of known.values()) row.remove();
}

export function bar(element, part, state) {
  element.firstElementChild.style.width = `${(100 * part).toFixed(2)}%`;
  element.dataset.state = state;
}
