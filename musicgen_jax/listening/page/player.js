// Sounds of one length that play together, of which one is heard: switching loses neither position nor a sample.

const FADE = 0.005;  // seconds: time constant of a cross-fade; the two gains always add up to one
const LEAD = 0.03;  // seconds until a start, so that all of them start in the same moment

export class Player {
  /** `context` is an AudioContext, which a click has started. */
  constructor(context) {
    this.context = context;
    this.buffers = [];
    this.selected = 0;
    this.playing = false;
    this.looping = false;
    this.onended = () => {};
    this.clear();
  }

  clear() {
    this._stop();
    this.buffers = [];
    this.offset = 0;
    this.heard = [];
  }

  /** Files -> sounds, of which none plays yet. */
  async load(files) {
    this.clear();
    this.buffers = await Promise.all(files.map((file) => this.context.decodeAudioData(file)));
    this.heard = this.buffers.map(() => 0);
    this.duration = Math.min(...this.buffers.map((buffer) => buffer.duration));
    this.from = 0;
    this.to = this.duration;
    this.selected = 0;
  }

  /** Seconds from the beginning of the sounds. */
  get position() {
    if (!this.playing) {
      return this.offset;
    }
    const position = this.offset + Math.max(0, this.context.currentTime - this.started);
    if (!this.looping || position < this.to) {
      return Math.min(position, this.duration);
    }
    return this.from + (position - this.from) % (this.to - this.from);
  }

  play() {
    if (this.playing || !this.buffers.length) {
      return;
    }
    const outside = this.looping && (this.offset < this.from || this.offset >= this.to);
    if (outside || this.offset >= this.duration) {
      this.offset = this.looping ? this.from : 0;
    }
    this.started = this.context.currentTime + LEAD;
    this.counted = this.started;
    this.voices = this.buffers.map((buffer, slot) => this._voice(buffer, slot));
    this.playing = true;
  }

  pause() {
    this.offset = this.position;
    this._stop();
  }

  /** Makes another sound the one that is heard, where it is. */
  select(slot) {
    this.count();
    this.selected = slot;
    const now = this.context.currentTime;
    this.voices.forEach(({gain}, other) => gain.gain.setTargetAtTime(other === slot ? 1 : 0, now, FADE));
  }

  seek(seconds) {
    this._moved(() => { this.offset = Math.min(Math.max(seconds, 0), this.duration); });
  }

  /** Repeats the stretch between two times, or nothing. */
  loop(looping, from = this.from, to = this.to) {
    this._moved(() => Object.assign(this, {looping, from, to}));
  }

  /** Counts for how long each sound has been heard, in seconds: `heard`. */
  count() {
    if (this.playing) {
      const now = Math.max(this.context.currentTime, this.counted);
      this.heard[this.selected] += now - this.counted;
      this.counted = now;
    }
  }

  _moved(change) {
    const playing = this.playing;
    if (playing) {
      this.pause();
    }
    change();
    if (playing) {
      this.play();
    }
  }

  _voice(buffer, slot) {
    const gain = new GainNode(this.context, {gain: slot === this.selected ? 1 : 0});
    const source = new AudioBufferSourceNode(this.context, {
      buffer, loop: this.looping, loopStart: this.from, loopEnd: this.to,
    });
    source.connect(gain).connect(this.context.destination);
    source.start(this.started, this.offset);
    if (slot === 0) {
      source.onended = () => this._ended(source);
    }
    return {source, gain};
  }

  _ended(source) {
    if (this.playing && source === this.voices[0]?.source) {
      this.count();
      this._stop();
      this.offset = 0;
      this.onended();
    }
  }

  _stop() {
    if (this.playing) {
      this.count();
    }
    this.playing = false;
    const now = this.context.currentTime;
    for (const {source, gain} of this.voices ?? []) {
      source.onended = null;
      gain.gain.setTargetAtTime(0, now, FADE);
      source.stop(now + 10 * FADE);
    }
    this.voices = [];
  }
}
