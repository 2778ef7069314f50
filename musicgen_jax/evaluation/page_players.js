"use strict";
(() => {
  const players = Array.from(document.querySelectorAll("figure.player"));
  const keepPosition = document.getElementById("keep-position");
  let last = null;

  for (const figure of players) {
    const audio = figure.querySelector("audio");
    const button = figure.querySelector(".play");
    const time = figure.querySelector(".time");
    const picture = figure.querySelector(".spectrogram");
    const playhead = figure.querySelector(".playhead");
    const name = audio.dataset.name;
    const whole = time.textContent;
    const draw = () => {
      const now = audio.currentTime.toFixed(1);
      playhead.classList.toggle("on", audio.currentTime > 0);
      playhead.style.left = (100 * audio.currentTime / (audio.duration || 1)) + "%";
      time.textContent = audio.currentTime > 0 ? now + " / " + whole : whole;
      picture.setAttribute("aria-valuenow", now);
      picture.setAttribute("aria-valuetext", now + " seconds");
    };
    const seek = (seconds) => {
      if (!Number.isFinite(audio.duration)) return;
      audio.currentTime = Math.min(Math.max(seconds, 0), audio.duration);
      draw();
    };
    const follow = () => {
      draw();
      if (!audio.paused) requestAnimationFrame(follow);
    };
    const toggle = () => {
      if (!audio.paused) return audio.pause();
      // Refused where another sound was asked for before this one began.
      audio.play().catch(() => {});
    };
    const show = () => {
      button.classList.toggle("on", !audio.paused);
      button.setAttribute("aria-label", (audio.paused ? "play " : "pause ") + name);
    };
    audio.controls = false;
    button.hidden = false;
    button.addEventListener("click", toggle);
    audio.addEventListener("play", () => {
      const group = figure.closest(".group");
      const switched = last && last !== audio && group && group.contains(last) && !last.ended;
      if (switched && keepPosition.checked) audio.currentTime = Math.min(last.currentTime, audio.duration || 0);
      for (const other of players) {
        const otherAudio = other.querySelector("audio");
        if (otherAudio !== audio) otherAudio.pause();
      }
      last = audio;
      show();
      follow();
    });
    audio.addEventListener("pause", show);
    audio.addEventListener("seeked", draw);
    audio.addEventListener("error", () => {
      button.disabled = true;
      time.textContent = "this browser cannot play it";
    });
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      seek(audio.duration * (event.clientX - box.left) / box.width);
    });
    const jumps = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5, Home: -1e9, End: 1e9};
    picture.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key in jumps) seek(audio.currentTime + jumps[event.key]);
      else if (event.key === " " || event.key === "Enter") toggle();
      else return;
      event.preventDefault();
    });
  }
})();
