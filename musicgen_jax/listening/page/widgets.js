// Elements in one line each.

/** `<tag ...properties>children</tag>`; properties with a dash are attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) {
      made.setAttribute(name, value);
    } else {
      made[name] = value;
    }
  }
  made.append(...children);
  return made;
}

export function paragraphs(text) {
  return text.split(/\n\s*\n/).map((one) => element("p", {}, one.trim()));
}

/** One of several answers: {root, value(), set(value)}; `choices` is [[value, text], ...]. */
export function choice(legend, choices, changed) {
  const inputs = choices.map(([, text], place) => element("input", {type: "radio", name: "choice", value: String(place), onchange: changed}));
  const labels = choices.map(([, text], place) => element("label", {}, inputs[place], text));
  const root = element("fieldset", {}, element("legend", {}, legend), ...labels);
  const checked = () => inputs.findIndex((input) => input.checked);
  return {
    root,
    answered: () => checked() >= 0,
    value: () => choices[checked()]?.[0],
    set: (value) => {
      const place = choices.findIndex(([other]) => other === value);
      if (place >= 0) {
        inputs[place].checked = true;
        changed();
      }
    },
    press: (place) => inputs[place] && (inputs[place].focus(), inputs[place].click()),
  };
}
