// Play, pause, position, and the stretch that is repeated.

import {element} from "./widgets.js";

/** {root, toggle(), tick()}: `loops` says whether a stretch may be repeated, and is at first. */
export function transport(player, loops) {
  const play = element("button", {type: "button", className: "main", onclick: toggle});
  const range = (name, value) => element("input", {
    type: "range", min: 0, max: player.duration, step: 0.01, value, "aria-label": name,
  });
  const position = range("position", 0);
  position.oninput = () => player.seek(Number(position.value));
  const clock = element("span");
  const root = element("div", {}, element("div", {className: "transport"}, play, position, clock));
  if (loops) {
    const repeat = element("input", {type: "checkbox", checked: true});
    const from = range("repeat from", 0);
    const to = range("repeat to", player.duration);
    const shortest = Math.min(0.5, player.duration);
    const loop = (event) => {
      if (Number(to.value) - Number(from.value) < shortest) {  // the end that was not moved gives way
        if (event?.target === from) {
          from.value = Math.min(Number(from.value), player.duration - shortest);
          to.value = Number(from.value) + shortest;
        } else {
          to.value = Math.max(Number(to.value), shortest);
          from.value = Number(to.value) - shortest;
        }
      }
      player.loop(repeat.checked, Number(from.value), Number(to.value));
    };
    repeat.onchange = loop;
    from.onchange = loop;
    to.onchange = loop;
    loop();
    root.append(element("div", {className: "region"}, element("label", {}, repeat, "repeat"),
      element("label", {}, "from", from), element("label", {}, "to", to)));
  } else {
    player.loop(false);
  }

  function toggle() {
    if (player.playing) {
      player.pause();
    } else {
      player.context.resume();  // a phone that was locked has stopped it
      player.play();
    }
    tick();
  }

  function tick() {
    player.count();
    play.textContent = player.playing ? "Pause" : "Play";
    if (document.activeElement !== position || player.playing) {
      position.value = player.position;
    }
    clock.textContent = `${player.position.toFixed(1)} / ${player.duration.toFixed(1)} s`;
  }

  tick();
  return {root, toggle, tick};
}
