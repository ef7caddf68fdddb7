// The microphone: asked for when it is opened, and not a moment before.

import { toBase64 } from "./pcm.js";

const MODULE = new URL("./capture_worklet.js", import.meta.url);

export class Microphone {
  // onPiece(base64), onLevel(0 to 1), onLost(): unplugged, or taken away
  constructor({ onPiece, onLevel, onLost }) {
    Object.assign(this, { onPiece, onLevel, onLost });
    this.stream = null;
    this.context = null;
    this.opening = 0; // counts: only the last that was asked for is opened
    this.pending = 0;
  }

  get isOpening() {
    return this.pending > 0;
  }

  get isOpen() {
    return this.stream !== null;
  }

  // Throws the browser's own DOMException; `explain` puts it into words.
  async open(deviceId = "") {
    this.pending++;
    try {
      return await this.#open(deviceId, ++this.opening);
    } finally {
      this.pending--;
    }
  }

  async #open(deviceId, mine) {
    if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "SecurityError");
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        deviceId: deviceId ? { exact: deviceId } : undefined,
        channelCount: 1,
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
      },
    });
    const context = new AudioContext();
    try {
      await context.audioWorklet.addModule(MODULE);
    } catch (error) {
      end(stream, context);
      throw error;
    }
    if (mine !== this.opening) {
      end(stream, context);
      return false; // closed meanwhile
    }
    const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1 });
    node.port.onmessage = ({ data }) => {
      if (this.stream !== stream) return;
      this.onLevel(data.level);
      this.onPiece(toBase64(data.pcm));
    };
    context.createMediaStreamSource(stream).connect(node);
    stream.getAudioTracks()[0].onended = () => {
      if (this.stream !== stream) return;
      this.close();
      this.onLost();
    };
    Object.assign(this, { stream, context });
    return true;
  }

  close() {
    this.opening++;
    if (this.stream) end(this.stream, this.context);
    this.stream = this.context = null;
    this.onLevel(0);
  }
}

function end(stream, context) {
  stream.getTracks().forEach((track) => track.stop());
  context.close();
}

// The name of the sentence that helps.
export function explain(error) {
  return (
    {
      NotAllowedError: "mic_denied",
      SecurityError: "mic_insecure",
      NotFoundError: "mic_none",
      OverconstrainedError: "mic_none",
      NotReadableError: "mic_busy",
      AbortError: "mic_busy",
    }[error.name] ?? "mic_failed"
  );
}
