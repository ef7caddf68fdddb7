// Whether somebody speaks near: louder than the room for a while. Knows no page and no microphone.

const NEAR = 0.35; // of a meter that shows -60 dB as 0: whoever is quieter is not near
const ABOVE = 0.15; // the room: 9 dB
const LONG = 5; // pieces of 50 ms
const SETTLES = 0.005; // of the way up to what is heard, each piece: a hum is the room in 10 s

export class Wake {
  constructor() {
    this.room = 1; // as loud as the quietest that was heard of late
    this.loud = 0; // pieces, each that is not taken off
  }

  // level: of the next 50 ms, 0 to 1.
  push(level) {
    this.room = level < this.room ? level : this.room + SETTLES * (level - this.room);
    const isLoud = level > Math.max(NEAR, this.room + ABOVE);
    this.loud = isLoud ? Math.min(LONG, this.loud + 1) : Math.max(0, this.loud - 1);
    return this.loud === LONG;
  }
}
