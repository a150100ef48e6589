// Synchronised playback of all versions of a piece.
//
// Where the audio comes from: a page on disk (file://) may not fetch() the files beside it, and <audio> elements, which
// may, cannot be switched or kept together to better than some tens of milliseconds. A classic script may be loaded
// from disk everywhere, so each recording is a FLAC file in base64 inside a script that calls musicstarAudio(id,
// base64).
//
// How it switches without a gap: all versions are decoded to sample buffers and started at one instant of the audio
// clock; they all run, and only the gain of the chosen one is 1. To switch is to cross-fade two gains within 10 ms, at
// the same position to the sample. FLAC has no encoder delay, so a loop closes without a gap too.
const FADE = 0.01; // seconds
const arriving = new Map(); // id -> {resolve, reject} of a script under way

globalThis.musicstarAudio = (id, base64) => {
  arriving.get(id)?.resolve(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
};

class Player {
  constructor(onChange) {
    this.onChange = onChange;
    this.context = null; // made with the first piece; browsers keep it silent until a click or key
    this.pieces = new Map(); // piece id -> promise of Map(version id -> AudioBuffer)
    this.buffers = new Map();
    this.sources = new Map(); // version id -> {node, gain} while playing
    this.active = null;
    this.playing = false;
    this.loop = true;
    this.volume = 1;
    this.duration = 0;
    this.anchor = { position: 0, time: 0 }; // where the music was at a time of the audio clock
  }

  // Load a piece's recordings (and forget all but those of `keep`); resolves when they can be played.
  load(piece, keep = []) {
    this.context ??= this.newContext();
    for (const id of [...this.pieces.keys()]) if (id !== piece.id && !keep.includes(id)) this.pieces.delete(id);
    if (!this.pieces.has(piece.id)) {
      const ids = [piece.input, piece.gold, ...piece.outputs];
      const loaded = Promise.all(ids.map((id) => this.fetchBuffer(id))).then(
        (all) => new Map(ids.map((id, i) => [id, all[i]])),
      );
      loaded.catch(() => this.pieces.delete(piece.id)); // so that it can be tried again
      this.pieces.set(piece.id, loaded);
    }
    return this.pieces.get(piece.id);
  }

  newContext() {
    const context = new (globalThis.AudioContext ?? globalThis.webkitAudioContext)();
    this.master = context.createGain();
    this.master.gain.value = this.volume ** 2;
    this.master.connect(context.destination);
    return context;
  }

  async fetchBuffer(id) {
    const script = document.createElement("script");
    try {
      const bytes = await new Promise((resolve, reject) => {
        arriving.set(id, { resolve, reject });
        script.onerror = () => reject(new Error(`audio/${id}.js is missing`));
        script.src = `audio/${id}.js`;
        document.head.append(script);
      });
      // The callback form: older Safari knows no other.
      return await new Promise((resolve, reject) => {
        this.context.decodeAudioData(bytes, resolve, () => reject(new Error(`audio/${id}.js cannot be decoded`)));
      });
    } finally {
      arriving.delete(id);
      script.remove();
    }
  }

  // Take up a loaded piece, stopped at its start with `active` chosen.
  use(buffers, active) {
    this.halt();
    this.buffers = buffers;
    this.duration = Math.min(...[...buffers.values()].map((buffer) => buffer.duration));
    this.active = active;
    this.anchor = { position: 0, time: 0 };
    this.onChange();
  }

  position() {
    if (!this.playing) return this.anchor.position;
    const reached = this.anchor.position + Math.max(0, this.context.currentTime - this.anchor.time);
    return this.loop ? reached % this.duration : Math.min(reached, this.duration);
  }

  play() {
    if (this.playing || !this.buffers.size) return;
    this.context.resume();
    if (this.anchor.position >= this.duration - 0.01) this.anchor.position = 0;
    const time = this.context.currentTime + 0.02; // far enough ahead for all to start together
    for (const [id, buffer] of this.buffers) {
      const gain = this.context.createGain();
      gain.gain.value = id === this.active ? 1 : 0;
      gain.connect(this.master);
      const node = this.context.createBufferSource();
      node.buffer = buffer;
      node.loop = this.loop;
      node.loopEnd = this.duration;
      node.connect(gain);
      node.start(time, this.anchor.position);
      this.sources.set(id, { node, gain });
    }
    const first = this.sources.values().next().value.node;
    first.onended = () => {
      if (this.sources.values().next().value?.node !== first) return; // stopped by hand
      this.halt();
      this.anchor.position = 0;
      this.onChange();
    };
    this.anchor.time = time;
    this.playing = true;
    this.onChange();
  }

  pause() {
    this.halt();
    this.onChange();
  }

  halt() {
    if (!this.playing) return;
    this.anchor.position = this.position();
    this.playing = false;
    const now = this.context.currentTime;
    for (const { node, gain } of this.sources.values()) {
      gain.gain.setTargetAtTime(0, now, FADE / 4); // no click
      node.stop(now + 2 * FADE);
    }
    this.sources.clear();
  }

  // Go on with another version from the same instant.
  choose(id) {
    if (!this.buffers.has(id)) return;
    if (this.playing && id !== this.active) {
      const now = this.context.currentTime;
      for (const [other, { gain }] of this.sources) {
        gain.gain.cancelScheduledValues(now);
        gain.gain.setValueAtTime(gain.gain.value, now);
        gain.gain.linearRampToValueAtTime(other === id ? 1 : 0, now + FADE);
      }
    }
    this.active = id;
    this.onChange();
  }

  seek(position) {
    const was = this.playing;
    this.halt();
    this.anchor.position = Math.min(Math.max(0, position), this.duration);
    if (was) this.play();
    else this.onChange();
  }

  setLoop(loop) {
    if (this.playing)
      this.anchor = { position: this.position(), time: Math.max(this.context.currentTime, this.anchor.time) };
    this.loop = loop;
    for (const { node } of this.sources.values()) node.loop = loop;
    this.onChange();
  }

  setVolume(volume) {
    this.volume = Math.min(1, Math.max(0, volume));
    // The square of the slider's position is nearer to what is heard than the position itself.
    if (this.context) this.master.gain.setTargetAtTime(this.volume ** 2, this.context.currentTime, FADE);
    this.onChange();
  }
}
