// state.js: what the server told: cards, lanes, and what time it is there. Draws nothing, and works
// out nothing that the server knows.

const world = {
  title: '',
  history: 900,
  locks: new Map(), // name -> {name, card, lanes, tracks, holds}
  lanes: new Map(), // number -> lane
  isOver: false,
  isAway: false,
  version: 0,
};

// What time it is there, from what was told last. Messages come late, never early, so the one that
// came with the least delay is right.
const clock = {
  offset: null,
  pace: 1,
  first: null,
  stopped: null,
  hear(at) {
    const here = performance.now() / 1000;
    if (!this.first) this.first = { at, here };
    const passed = here - this.first.here;
    if (passed > 2) {
      const pace = (at - this.first.at) / passed;
      this.pace = Math.abs(pace - 1) < 0.1 ? 1 : pace;
    }
    const offset = at - here * this.pace;
    const is_far = this.offset === null || Math.abs(offset - this.offset) > 2 * Math.max(1, this.pace);
    if (is_far || offset > this.offset) this.offset = offset;
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

const takeLane = (told) => {
  let lane = world.lanes.get(told.number);
  const lock = lockOf(told.lock);
  if (!lane) {
    lane = { number: told.number, lock, who: told.who, start: told.start, spans: [] };
    world.lanes.set(told.number, lane);
    lock.lanes.add(lane);
  }
  lane.who = told.who;
  // From `start` on it is as told now.
  let known = told.start - lane.start;
  if (known < 0 || known > lane.spans.length) {
    Object.assign(lane, { start: told.start, spans: [] });
    known = 0;
  }
  lane.spans.length = known;
  for (const span of told.spans) {
    span.lane = lane;
    lane.spans.push(span);
    if (span.kind !== 'waiting') takeHold(lock, span);
  }
  takeTrack(lane);
  world.version += 1;
};

// Who comes again under the same name, as another process, is shown in the same row: a track has
// lanes one after the other. Those who are there at once have tracks of their own.
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

// Holdings of a lock in their order, to draw how it passes from lane to lane.
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

// Tells which cards are different.
const take = (told, isAll) => {
  if (isAll) {
    world.locks.clear();
    world.lanes.clear();
    Object.assign(world, { title: told.title, history: told.history, isOver: told.is_over });
    clock.reset();
  }
  world.isAway = told.is_away;
  clock.hear(told.now);
  if (isAll && told.is_over) clock.stop(told.now);
  for (const card of told.cards) {
    const lock = lockOf(card.lock);
    lock.before = lock.card;
    lock.card = card;
  }
  told.lanes.sort((one, two) => one.number - two.number);
  for (const lane of told.lanes) takeLane(lane);
  for (const number of told.gone) dropLane(number);
  for (const name of told.forgotten) world.locks.delete(name);
  return told.cards.map((card) => world.locks.get(card.lock));
};

// What is too old is forgotten here as there.
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

