// view.js: which period and which rows of the lanes are shown, and how people change that.

const ZOOMS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900];

const view = {
  zoom: 60, // seconds that are shown
  end: null, // the right end while paused; null: follows the present
  rows: [],
  emptiness: '', // why there are no rows
  rowOf: new Map(), // lane -> its y
  chosen: null, // {lane, number} of a span
  pointed: null, // {lane, span, x, y} under the mouse
  follows: true, // scrolls so that the holder stays visible
  isTable: false,
  isDirty: true,
  drawnAt: 0,
  sortedAt: 0,
  sortCost: 0,
};

const isLive = () => view.end === null;

// The right end of the shown period; while live, a little after the present.
const edge = () => (isLive() ? (clock.now() ?? 0) + view.zoom * 0.04 : view.end);

const dirty = () => {
  view.isDirty = true;
};

const chosenSpan = () => {
  if (!view.chosen) return null;
  const { lane, number } = view.chosen;
  return world.lanes.get(lane.number) === lane ? (lane.spans[number - lane.start] ?? null) : null;
};

const isSeen = ({ spans }, from, to) => {
  if (!spans.length || spans[0].from > to) return false;
  const isLate = ({ to: end }) => end === null || end >= from;
  return isLate(spans.at(-1)) || spans.some(isLate);
};

// Explains why there are no rows.
const emptiness = (to, isFiltered) => {
  if (cards.chosen !== null && !world.locks.has(cards.chosen)) {
    return `No lock ${clean(cards.chosen)} has been seen here. It appears when it is taken.`;
  }
  if (to < clock.now() - world.history) return `No longer recorded: ${duration(world.history)} are kept.`;
  if (isFiltered) return 'No waiter or holder matches the filter in this period.';
  return isLive() ? 'No waiters or holders.' : 'No waiters or holders in this period.';
};

// Finds the rows: lanes with spans in this period, under a heading per lock where there are several locks.
const findRows = (from, to) => {
  const rows = [];
  const all = [...world.locks.values()];
  // A chosen lock that does not exist has no rows; those of other locks were not asked for.
  const locks = all.filter((lock) => (cards.chosen === null ? isShown(lock) : lock.name === cards.chosen));
  const chosen = cards.chosen !== null;
  let isFiltered = !chosen && locks.length < all.length;
  locks.sort((one, two) => (one.name < two.name ? -1 : 1));
  for (const lock of locks) {
    const wanted = !cards.text || matches(lock.name);
    const ofLock = [];
    for (const track of lock.tracks) {
      const lanes = track.lanes.filter((lane) => isSeen(lane, from, to));
      if (!lanes.length) continue;
      const { who } = lanes[0];
      if (wanted || matches(`${called(who)} ${place(who)}`)) ofLock.push({ lock, track, lanes });
      else isFiltered = true;
    }
    if (!chosen && ofLock.length) rows.push({ lock, track: null });
    rows.push(...ofLock);
  }
  view.rows = rows;
  view.rowOf = new Map();
  rows.forEach((row, index) => row.lanes?.forEach((lane) => view.rowOf.set(lane, index * ROW)));
  $('tall').style.height = `${rows.length * ROW}px`;
  const empty = $('empty');
  empty.hidden = rows.length > 0 || view.isTable;
  view.emptiness = rows.length ? '' : emptiness(to, isFiltered);
  write(empty, view.emptiness);
};

const gutterOf = (width) => Math.round(Math.min(240, Math.max(104, width * 0.22)));

// Returns what a frame draws.
const sceneOf = (now) => {
  const scroller = $('scroller');
  const [width, height] = [scroller.clientWidth, scroller.clientHeight];
  const to = edge();
  const from = to - view.zoom;
  const gutter = gutterOf(width);
  const scale = (width - gutter) / view.zoom;
  const scene = {
    width, height, from, to, now, gutter,
    top: scroller.scrollTop,
    x: (t) => gutter + (t - from) * scale,
    at: (x) => from + (x - gutter) / scale,
    rows: view.rows, rowOf: view.rowOf,
    chosen: chosenSpan(), pointed: view.pointed?.lane,
    colours: paint.colours,
    font: `13px ${paint.sans}`, small: `11px ${paint.sans}`,
    count: '',
  };
  scene.ticks = ticks(scene);
  return scene;
};

// Scrolls so that the holder stays visible, until the user scrolls.
const follow = (scene) => {
  if (!view.follows || !isLive() || cards.chosen === null) return;
  const lock = world.locks.get(cards.chosen);
  const last = lock?.holds[lock.holds.length - 1];
  const y = last && view.rowOf.get(last.lane);
  if (y === undefined || view.rows.length * ROW <= scene.height) return;
  const wanted = Math.max(0, y - scene.height * 0.3);
  if (y < scene.top || y > scene.top + scene.height * 0.7) {
    view.scrolledTo = Math.round(wanted);
    $('scroller').scrollTop = view.scrolledTo;
  }
};

// Draws if something has changed: new data, user input, or time by half a pixel.
const frame = () => {
  const now = clock.now();
  if (now === null || view.isTable) return;
  const moved = isLive() ? (now - view.drawnAt) * (($('scroller').clientWidth || 1) / view.zoom) : 0;
  const least = isQuiet.matches ? 12 : 0.5;
  if (!view.isDirty && moved < least) return;
  if (world.version !== view.version || performance.now() - view.sortedAt > 250) {
    view.version = world.version;
    // Finding many rows takes long; the longer it takes, the less often it is done.
    const begun = performance.now();
    if (begun - view.sortedAt > Math.max(120, view.sortCost * 10) || view.isDirty === 'all') {
      findRows(edge() - view.zoom, edge());
      view.sortedAt = performance.now();
      view.sortCost = view.sortedAt - begun;
    }
  }
  view.isDirty = false;
  view.drawnAt = now;
  let scene = sceneOf(now);
  if (!scene.width) return;
  follow(scene);
  scene.top = $('scroller').scrollTop;
  const lanes = view.rowOf.size;
  scene.count = scene.gutter > 120 ? count(lanes, 'contender') : String(lanes);
  $('lanes').style.height = `${scene.height}px`;
  // A scroll bar makes it narrower than its container.
  $('axis').style.width = `${scene.width}px`;
  drawAxis($('axis'), scene);
  drawLanes($('lanes'), scene);
  view.scene = scene;
};

const showTools = () => {
  const pause = $('pause');
  pause.setAttribute('aria-pressed', String(!isLive()));
  write(pause, isLive() ? 'Pause' : 'Resume');
  pause.title = `${isLive() ? 'Pause' : 'Back to live'} (Space)`;
  $('live').dataset.is = isLive() ? 'live' : 'away';
  write($('span'), view.zoom < 60 ? `${view.zoom} s` : `${view.zoom / 60} min`);
  $('in').disabled = view.zoom === ZOOMS[0];
  $('out').disabled = view.zoom === ZOOMS[ZOOMS.length - 1];
  if (document.activeElement !== $('back-in-time') || isLive()) showBack();
};

const showBack = () => {
  const now = clock.now() ?? 0;
  const back = isLive() ? 0 : Math.min(0, view.end - now);
  $('back-in-time').value = String(Math.round(back));
  $('back-in-time').setAttribute('aria-valuetext', isLive() ? 'now' : `${duration(-back)} ago`);
};

const changed = () => {
  view.isDirty = 'all';
  view.sortedAt = 0;
  showTools();
};

const goLive = () => {
  view.end = null;
  view.follows = true;
  changed();
};
const stopTime = () => {
  if (isLive()) view.end = edge();
  changed();
};
const togglePause = () => (isLive() ? stopTime() : goLive());

const showUntil = (end) => {
  const now = clock.now() ?? 0;
  const latest = now + view.zoom * 0.04;
  $('tip').hidden = true;
  // The future cannot be shown: the view goes live.
  if (end >= latest) view.end = null;
  else view.end = Math.max(now - world.history + view.zoom * 0.1, end);
  changed();
};

// Zooms by one step, around a moment that stays in place.
const zoomBy = (step, around) => {
  const index = ZOOMS.findIndex((zoom) => zoom >= view.zoom);
  const zoom = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, index + step))];
  if (!isLive() && around !== undefined) view.end = around + ((view.end - around) * zoom) / view.zoom;
  view.zoom = zoom;
  changed();
};

// Returns what is drawn at this point of the canvas.
const spanAt = (x, y) => {
  const { scene } = view;
  if (!scene) return null;
  const row = view.rows[Math.floor((y + $('scroller').scrollTop) / ROW)];
  if (!row?.track) return null;
  const t = scene.at(x);
  const near = scene.at(x + 5) - t;
  let [best, distance] = [null, near];
  for (const { spans } of row.lanes) {
    for (let index = firstFrom(spans, t - near); index < spans.length; index += 1) {
      const span = spans[index];
      if (span.from > t + near) break;
      const end = span.to ?? scene.now;
      const off = t < span.from ? span.from - t : t > end ? t - end : 0;
      // Of two spans at the same distance, the later one, which is drawn above.
      if (off <= distance) [best, distance] = [span, off];
    }
  }
  const span = x < scene.gutter ? null : best;
  return { lane: span?.lane ?? row.lanes.at(-1), span };
};

const choose = (span) => {
  const { lane } = span;
  view.chosen = { lane, number: lane.start + lane.spans.indexOf(span) };
  const scroller = $('scroller');
  const y = view.rowOf.get(lane);
  if (y !== undefined) {
    if (y < scroller.scrollTop + ROW) scroller.scrollTop = Math.max(0, y - ROW);
    if (y + ROW > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = y + 2 * ROW - scroller.clientHeight;
  }
  view.follows = false;
  dirty();
  announceChosen();
};

// Moves the choice: up and down to the span of another contender at that time, left and right within a lane.
const step = (byRows, bySpans) => {
  const rows = view.rows.filter((row) => row.track);
  const spansOf = (row) => row.lanes.flatMap((lane) => lane.spans);
  if (!rows.length) return;
  const within = (index, list) => list[Math.max(0, Math.min(list.length - 1, index))];
  const span = chosenSpan();
  if (!span) {
    const isHolding = (row) => row.lanes.at(-1).spans.some(({ to, kind }) => to === null && kind !== 'waiting');
    choose(spansOf(rows.find(isHolding) ?? rows[0]).at(-1));
    return;
  }
  const index = rows.findIndex((row) => row.track === span.lane.track);
  if (bySpans) {
    const spans = index < 0 ? span.lane.spans : spansOf(rows[index]);
    choose(within(spans.indexOf(span) + bySpans, spans));
    bringIntoSight();
    return;
  }
  const at = Math.min(span.to ?? clock.now(), clock.now());
  const spans = spansOf(within(index + byRows, rows));
  choose(spans.findLast(({ from }) => from <= at) ?? spans[0]);
};

const bringIntoSight = () => {
  const span = chosenSpan();
  const to = edge();
  if (span && (span.from < to - view.zoom || span.from > to)) showUntil(span.from + view.zoom / 2);
};

const listenToLanes = () => {
  const scroller = $('scroller');
  let drag = null;
  scroller.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, end: edge(), moved: false, id: event.pointerId };
  });
  scroller.addEventListener('pointermove', (event) => {
    const box = scroller.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (drag) {
      const by = event.clientX - drag.x;
      if (!drag.moved && Math.abs(by) < 5) return;
      if (!drag.moved) scroller.setPointerCapture(drag.id);
      drag.moved = true;
      scroller.classList.add('dragged');
      showUntil(drag.end - by * (view.zoom / (box.width - gutterOf(box.width))));
      return;
    }
    point(spanAt(x, y), event.clientX, event.clientY);
  });
  const drop = (event) => {
    if (drag && !drag.moved && event.type === 'pointerup') {
      const box = scroller.getBoundingClientRect();
      const found = spanAt(event.clientX - box.left, event.clientY - box.top);
      if (found?.span) {
        choose(found.span);
        point(found, event.clientX, event.clientY);
      } else if (found === null || !found.span) view.chosen = null;
      dirty();
    }
    drag = null;
    scroller.classList.remove('dragged');
  };
  scroller.addEventListener('pointerup', drop);
  scroller.addEventListener('pointercancel', drop);
  scroller.addEventListener('pointerleave', () => point(null));
  scroller.addEventListener('wheel', (event) => {
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey) {
      event.preventDefault();
      const x = event.clientX - scroller.getBoundingClientRect().left;
      zoomBy(event.deltaY > 0 ? 1 : -1, view.scene?.at(x));
    } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      event.preventDefault();
      showUntil(edge() + (sideways * view.zoom) / scroller.clientWidth);
    }
  }, { passive: false });
  scroller.addEventListener('scroll', () => {
    if (Math.abs(scroller.scrollTop - (view.scrolledTo ?? 0)) > 2) view.follows = false;
    dirty();
  });
  new ResizeObserver(() => {
    readColours();
    dirty();
  }).observe(scroller);
  scroller.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-10, 0], PageDown: [10, 0], Home: [0, -1e9], End: [0, 1e9] };
    const by = keys[event.key];
    if (!by || event.shiftKey) return;
    event.preventDefault();
    step(...by);
  });
  scroller.addEventListener('blur', () => point(null));
};

