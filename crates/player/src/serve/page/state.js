// state.js: the state that the server sent: cards, lanes, and its time. Draws nothing, and computes nothing
// that the server knows.

const world = {
  title: '',
  history: 900,
  locks: new Map(), // name -> {name, card, lanes, tracks, holds}
  lanes: new Map(), // number -> lane
  isOver: false,
  isAway: false,
  version: 0,
};

// The time of the server, estimated from its messages. Messages arrive late, never early, so the one with the
// least delay is right.
const clock = {
  offset: null,
  pace: 1,
  first: null,
  stopped: null,
  sync(at) {
    const here = performance.now() / 1000;
    if (!this.first) this.first = { at, here };
    const passed = here - this.first.here;
    if (passed > 2) {
      const pace = (at - this.first.at) / passed;
      this.pace = Math.abs(pace - 1) < 0.1 ? 1 : pace;
    }
    const offset = at - here * this.pace;
    const isFar = this.offset === null || Math.abs(offset - this.offset) > 2 * Math.max(1, this.pace);
    if (isFar || offset > this.offset) this.offset = offset;
    else this.offset += (offset - this.offset) * 0.05;
    if (passed > 20) this.first = { at, here };
  },
  reset() {
    Object.assign(this, { offset: null, pace: 1, first: null, stopped: null });
  },
  now() {
    if (this.stopped !== null) return this.stopped;
    if (this.offset === null) return null;
    return this.offset + (performance.now() / 1000) * this.pace;
  },
  stop(at) {
    this.stopped = at ?? this.now();
  },
};

const lockOf = (name) => {
  let lock = world.locks.get(name);
  if (!lock) {
    lock = { name, shown: clean(name), card: null, lanes: new Set(), tracks: [], byKey: new Map(), holds: [] };
    world.locks.set(name, lock);
  }
  return lock;
};

const takeLane = (update) => {
  let lane = world.lanes.get(update.number);
  const lock = lockOf(update.lock);
  if (!lane) {
    lane = { number: update.number, lock, who: update.who, start: update.start, spans: [] };
    world.lanes.set(update.number, lane);
    lock.lanes.add(lane);
  }
  lane.who = update.who;
  // From `start` on, the spans of the update replace the known ones.
  let known = update.start - lane.start;
  if (known < 0 || known > lane.spans.length) {
    Object.assign(lane, { start: update.start, spans: [] });
    known = 0;
  }
  lane.spans.length = known;
  for (const span of update.spans) {
    span.lane = lane;
    lane.spans.push(span);
    if (span.kind !== 'waiting') takeHold(lock, span);
  }
  takeTrack(lane);
  world.version += 1;
};

// A contender that returns under the same name, as another process, is shown in the same row: a track has
// lanes one after the other. Contenders that are there at once have tracks of their own.
const takeTrack = (lane) => {
  const { lock, who, spans } = lane;
  const key = JSON.stringify([who.label || who.command || lane.number, who.host]);
  if (lane.track?.key === key || !spans.length) return;
  leaveTrack(lane);
  const tracks = lock.byKey.get(key) ?? [];
  const isFree = ({ last }) => !last || (last.to !== null && last.to <= spans[0].from);
  let track = tracks.find((other) => isFree({ last: other.lanes.at(-1)?.spans.at(-1) }));
  if (!track) {
    track = { key, lock, lanes: [] };
    tracks.push(track);
    lock.byKey.set(key, tracks);
    lock.tracks.push(track);
  }
  track.lanes.push(lane);
  lane.track = track;
};

const leaveTrack = (lane) => {
  const { track, lock } = lane;
  if (!track) return;
  lane.track = null;
  track.lanes.splice(track.lanes.indexOf(lane), 1);
  if (track.lanes.length) return;
  lock.tracks.splice(lock.tracks.indexOf(track), 1);
  const others = lock.byKey.get(track.key);
  others.splice(others.indexOf(track), 1);
  if (!others.length) lock.byKey.delete(track.key);
};

// Keeps the holdings of a lock in order, to draw how it passes from lane to lane.
const takeHold = (lock, span) => {
  const { holds } = lock;
  let index = holds.length;
  while (index > 0 && holds[index - 1].from > span.from) index -= 1;
  const before = holds[index - 1];
  if (before && before.from === span.from && before.lane === span.lane) holds[index - 1] = span;
  else holds.splice(index, 0, span);
};

const dropLane = (number) => {
  const lane = world.lanes.get(number);
  if (!lane) return;
  world.lanes.delete(number);
  lane.lock.lanes.delete(lane);
  leaveTrack(lane);
  world.version += 1;
};

// Applies a message, and returns the locks whose cards changed.
const take = (message, isAll) => {
  if (isAll) {
    world.locks.clear();
    world.lanes.clear();
    Object.assign(world, { title: message.title, history: message.history, isOver: message.is_over });
    clock.reset();
  }
  world.isAway = message.is_away;
  clock.sync(message.now);
  if (isAll && message.is_over) clock.stop(message.now);
  for (const card of message.cards) {
    const lock = lockOf(card.lock);
    lock.before = lock.card;
    lock.card = card;
  }
  message.lanes.sort((one, two) => one.number - two.number);
  for (const lane of message.lanes) takeLane(lane);
  for (const number of message.gone) dropLane(number);
  for (const name of message.forgotten) world.locks.delete(name);
  return message.cards.map((card) => world.locks.get(card.lock));
};

// Drops what is too old, as the server does.
const forget = () => {
  const before = (clock.now() ?? 0) - world.history;
  for (const lock of world.locks.values()) {
    const old = lock.holds.findIndex((span) => span.to === null || span.to > before);
    if (old > 0) lock.holds.splice(0, old);
    for (const { spans } of lock.lanes) {
      if (spans.length < 2 || spans[0].to === null || spans[0].to > before) continue;
      const first = spans.findIndex((span) => span.to === null || span.to > before);
      const drop = first < 0 ? spans.length - 1 : first;
      spans[0].lane.start += drop;
      spans.splice(0, drop);
    }
  }
};

