// The way through a study: consent, a click that starts the sound, one question after the other, thanks.

import * as api from "./api.js";
import {Player} from "./player.js";
import {QUESTIONS} from "./questions.js";
import {transport} from "./transport.js";
import {element, paragraphs} from "./widgets.js";

const main = document.getElementById("main");
const KEPT = `listening test ${location.pathname}`;  // where an answer that is not yet given outlives a reload
let keys = {};
let ticking = () => {};
let leaving = () => {};

window.addEventListener("pagehide", () => leaving());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) {
    return;
  }
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  const {tagName, type, checked} = event.target;
  const clicks = key === "space" && (tagName === "BUTTON" || type === "checkbox" || (type === "radio" && !checked));
  if (key in keys && !clicks) {
    event.preventDefault();
    keys[key]();
  }
});
setInterval(() => ticking(), 50);

function show(...children) {
  keys = {};
  ticking = () => {};
  leaving = () => {};
  main.replaceChildren(...children);
  main.focus({preventScroll: true});
  window.scrollTo(0, 0);
}

/** Resolves when the button is clicked. */
function clicked(text, ...before) {
  return new Promise((resolve) => {
    const button = element("button", {type: "button", className: "main", id: "go", onclick: resolve}, text);
    show(...before, element("div", {className: "actions"}, button));
    button.focus();
  });
}

/** An AudioContext at the rate of the files, so that nothing is resampled where the browser can do that. */
function audioContext(sampleRate) {
  try {
    return new AudioContext({sampleRate, latencyHint: "interactive"});
  } catch {
    return new AudioContext();
  }
}

function kept(number) {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT));
    return found?.number === number ? found : {};
  } catch {
    return {};
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing: a reload begins the page anew.
  }
}

function place(session, number) {
  const progress = document.getElementById("progress");
  Object.assign(progress, {max: session.pages.length, value: number});
  const kind = session.pages[number]?.kind;
  const names = {practice: "practice: this answer does not count", headphones: "headphone check"};
  document.getElementById("place").textContent =
    number < session.pages.length ? `page ${number + 1} of ${session.pages.length}${names[kind] ? `, ${names[kind]}` : ""}` : "";
}

/** Shows a page; resolves to its answer. */
async function ask(session, number, player) {
  const page = session.pages[number];
  show(element("p", {}, "Loading the sounds ..."));
  const count = page.slots + page.given;
  const files = await Promise.all(Array.from({length: count}, (_, slot) => api.sound(number, slot)));
  await player.load(files);
  const before = kept(number);
  const began = performance.now() - 1000 * (before.seconds ?? 0);
  const seconds = () => (performance.now() - began) / 1000;
  const hint = element("span", {className: "hint", id: "hint"});
  return new Promise((resolve) => {
    const next = element("button", {type: "button", className: "main", id: "next", disabled: true}, "Next");
    const kindOf = page.kind === "headphones" ? "headphones" : session.design;
    let question = null;
    const select = (slot) => {
      player.select(slot);
      question.shown(slot);
    };
    const changed = () => {
      update();
      keep({number, seconds: seconds(), heard: player.heard, ...question.kept()});
    };
    const update = () => {
      if (question) {
        const missing = question.missing();
        next.disabled = missing !== "";
        hint.textContent = missing;
      }
    };
    question = QUESTIONS[kindOf](page, {player, changed, select});
    const controls = transport(player, question.loops);
    const letters = question.labels.length > 1 ? question.labels : [];
    show(question.root, controls.root, question.field, element("div", {className: "actions"}, next, hint), help(letters, question));
    keys = {
      ...Object.fromEntries(letters.map((label, slot) => [label[0].toLowerCase(), () => select(slot)])),
      ...question.keys, space: controls.toggle, n: () => next.click(),
    };
    if (before.heard?.length === count) {
      player.heard = before.heard;
      question.restore(before);
    }
    question.shown(player.selected);
    ticking = () => {
      controls.tick();
      update();
    };
    leaving = changed;
    next.onclick = () => {
      const answer = {...question.answer(), seconds: seconds()};
      player.pause();
      changed();
      ticking = () => {};
      leaving = () => {};
      next.disabled = true;
      hint.textContent = "Storing the answer ...";
      resolve(answer);
    };
    update();
  });
}

function help(letters, question) {
  const shown = [["space", "play, pause"]];
  if (letters.length) {
    shown.push([letters.map((label) => label[0].toUpperCase()).join(" "), "hear it"]);
  }
  const numbers = Object.keys(question.keys).filter((key) => /\d/.test(key));
  shown.push(numbers.length ? [numbers.join(" "), "answer"] : ["← →", "rate"], ["N", "next"]);
  return element("p", {className: "keys"}, "Keys: ",
    ...shown.flatMap(([key, text], place) => [place ? ", " : "", element("kbd", {}, key), ` ${text}`]));
}

async function run() {
  const session = await api.session();
  document.title = session.title;
  document.getElementById("title").textContent = session.title;
  let number = session.next;
  place(session, number);
  let player = null;
  while (number < session.pages.length) {
    place(session, number);
    const isConsent = session.pages[number].kind === "consent";
    if (player === null) {  // browsers let a page sound only after a click
      await (isConsent ? clicked("I agree: begin", ...paragraphs(session.consent)) : clicked("Go on", element("p", {}, "Welcome back.")));
      const context = audioContext(session.sampleRate);
      await context.resume();
      player = new Player(context);
    }
    const answer = isConsent ? {agreed: true, seconds: performance.now() / 1000} : await ask(session, number, player);
    number = await api.store(number, answer);
  }
  place(session, number);
  document.getElementById("progress").value = session.pages.length;
  show(element("h2", {id: "thanks"}, "Thank you!"), element("p", {}, "All your answers are stored. You may close this page."));
}

run().catch((error) => {
  show(element("h2", {}, "Something went wrong"), element("p", {}, "Please load this page again: it goes on where you were."),
    element("p", {className: "hint"}, String(error.message ?? error)));
});
