// One question a design: what is shown, which keys it has, when it is answered, and the answer as the server takes it.
//
// A question is {loops, labels, root, keys, restore(kept), kept(), missing(), answer()}. `labels` names the sounds in
// the order in which they were loaded; `missing()` says in words what is still to be done, "" where nothing is.

import {choice, element} from "./widgets.js";

const LETTERS = "ABCDEFGHIJKL";
const BANDS = ["bad", "poor", "fair", "good", "excellent"];
const ENOUGH = 1;  // seconds for which a sound must have been heard to be compared

export const QUESTIONS = {headphones, mushra, mos, ab, abx};

function headphones(page, context) {
  const choices = ["first", "second", "third"].map((text, place) => [place, text]);
  return asked(context, {
    heading: "Headphones, please",
    text: "Put on your headphones and play the three tones. Which one is the quietest?",
    labels: ["tones"], whole: true, legend: "The quietest tone is the", choices,
    answer: (value) => ({choice: value}),
  });
}

function mos(page, context) {
  const choices = BANDS.map((text, place) => [place + 1, `${place + 1} ${text}`]).reverse();
  return asked(context, {
    heading: "How good is this clip?",
    text: "Listen to all of it. Where three beeps interrupt it, choose 1, whatever else you hear.",
    labels: ["clip"], whole: true, legend: "Its quality is", choices,
    answer: (value) => ({scores: [value]}),
  });
}

function ab(page, context) {
  return asked(context, {
    heading: "Which one do you prefer?",
    text: "Listen to both, as often as you like. Where three beeps interrupt one of them, choose the other one.",
    labels: ["A", "B"], whole: false, legend: "I prefer",
    choices: [[0, "A"], [1, "B"], [null, "neither"]],
    answer: (value) => ({choice: value}),
  });
}

function abx(page, context) {
  return asked(context, {
    heading: "Is X the same as A, or as B?",
    text: "A and B differ, if perhaps by very little; X is one of them. Guess where you cannot tell.",
    labels: ["A", "B", "X"], whole: false, legend: "X is",
    choices: [[0, "A"], [1, "B"]],
    answer: (value) => ({choice: value}),
  });
}

/** Questions with one answer of a few. */
function asked(context, {heading, text, labels, whole, legend, choices, answer}) {
  const {player, changed, select} = context;
  const field = choice(legend, choices, changed);
  const sounds = labels.length > 1 ? selectors(labels, select) : null;
  const keys = Object.fromEntries(choices.map((_, place) => [String(place + 1), () => field.press(place)]));
  if (choices.every(([value], place) => value === choices.length - place)) {  // the keys of a scale are its numbers
    choices.forEach(([value], place) => { keys[String(value)] = () => field.press(place); });
  }
  return {
    loops: !whole, labels, keys,
    root: element("div", {}, element("h2", {}, heading), element("p", {}, text), ...(sounds ? [sounds.root] : [])),
    field: field.root,
    shown: (slot) => sounds?.shown(slot),
    kept: () => (field.answered() ? {value: field.value()} : {}),
    restore: (kept) => "value" in kept && field.set(kept.value),
    missing: () => {
      const needed = whole ? player.duration - 0.1 : Math.min(ENOUGH, player.duration);
      const unheard = labels.filter((_, slot) => player.heard[slot] < needed);
      if (unheard.length) {
        return whole ? "Listen to the end." : `Listen to ${unheard.join(", ")}.`;
      }
      return field.answered() ? "" : "Choose an answer.";
    },
    answer: () => answer(field.value()),
  };
}

function mushra(page, {player, changed, select}) {
  const slots = page.slots;
  const letters = [...LETTERS.slice(0, slots)];
  const labels = [...letters, "reference"];
  const sounds = selectors(labels, select);
  const sliders = letters.map((letter, slot) => element("input", {
    type: "range", min: 0, max: 100, step: 1, value: 50, className: "unmoved", "aria-label": `rating of ${letter}`,
    oninput: () => move(slot), onfocus: () => select(slot), onpointerdown: () => select(slot),
  }));
  const outputs = letters.map(() => element("output"));
  const isMoved = (slot) => !sliders[slot].classList.contains("unmoved");

  function move(slot) {
    const value = Number(sliders[slot].value);
    sliders[slot].classList.remove("unmoved");
    outputs[slot].textContent = `${value} ${BANDS[Math.min(4, Math.floor(value / 20))]}`;
    sliders[slot].setAttribute("aria-valuetext", outputs[slot].textContent);
    changed();
  }

  const rows = letters.map((_, slot) => element("div", {className: "rated"}, sounds.buttons[slot], sliders[slot], outputs[slot]));
  outputs.forEach((output) => { output.textContent = "not rated"; });
  return {
    loops: true, labels,
    keys: Object.fromEntries(letters.map((letter, slot) => [letter.toLowerCase(), () => sliders[slot].focus()])),
    root: element("div", {}, element("h2", {}, "How near is each sound to the reference?"),
      element("p", {}, "One of them is the reference itself: give it 100. Rate all others by how much they differ from " +
        "it. Where three beeps interrupt a sound, set its slider to 0."),
      element("div", {className: "sounds"}, sounds.buttons[slots])),
    field: element("div", {}, element("div", {className: "bands"}, ...BANDS.map((band) => element("span", {}, band))), ...rows),
    shown: sounds.shown,
    kept: () => ({scores: sliders.map((slider, slot) => (isMoved(slot) ? Number(slider.value) : null))}),
    restore: (kept) => (kept.scores ?? []).forEach((score, slot) => {
      if (score !== null && sliders[slot]) {
        sliders[slot].value = score;
        move(slot);
      }
    }),
    missing: () => {
      const unheard = labels.filter((_, slot) => player.heard[slot] < Math.min(ENOUGH, player.duration));
      const unmoved = letters.filter((_, slot) => !isMoved(slot));
      return (unheard.length ? `Listen to ${unheard.join(", ")}. ` : "") +
        (unmoved.length ? `Move the slider of ${unmoved.join(", ")}.` : "");
    },
    answer: () => ({scores: sliders.map((slider) => Number(slider.value))}),
  };
}

/** A button for each sound: {root, buttons, shown(slot)}. */
function selectors(labels, select) {
  const buttons = labels.map((label, slot) => element("button", {type: "button", onclick: () => select(slot), "aria-pressed": "false"}, label));
  return {
    root: element("div", {className: "sounds"}, ...buttons), buttons,
    shown: (slot) => buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === slot))),
  };
}
