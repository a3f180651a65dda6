// lanes.js: draws lanes over time into a canvas, only the rows that are visible. Handles no input.

const ROW = 28;
const HEAD = 30;

const paint = { colours: {}, patterns: {}, ratio: 1 };

// Reads the colours of the page.
const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['ground', 'card', 'line', 'faint', 'ink', 'soft', 'accent', 'focus', 'waiting', 'held', 'on-held', 'free', 'expired', 'dead', 'forgotten', 'now']) {
    paint.colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  paint.ratio = devicePixelRatio || 1;
  paint.sans = getComputedStyle(document.body).fontFamily;
  paint.patterns = {};
};

const hatch = (context, colour) => {
  if (paint.patterns[colour]) return paint.patterns[colour];
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const pen = tile.getContext('2d');
  pen.fillStyle = colour;
  pen.globalAlpha = 0.3;
  pen.fillRect(0, 0, 8, 8);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 2.4;
  for (const shift of [-8, 0, 8]) {
    pen.beginPath();
    pen.moveTo(shift - 1, 9);
    pen.lineTo(shift + 9, -1);
    pen.stroke();
  }
  return (paint.patterns[colour] = context.createPattern(tile, 'repeat'));
};

// Gives a canvas the size at which it is shown, in pixels of the screen.
const fit = (canvas, width, height) => {
  const [wide, high] = [Math.round(width * paint.ratio), Math.round(height * paint.ratio)];
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const context = canvas.getContext('2d');
  context.setTransform(paint.ratio, 0, 0, paint.ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
};

const cut = (context, text, width) => {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + '…').width <= width) low = middle;
    else high = middle - 1;
  }
  return text.slice(0, low) + '…';
};

const bar = (context, x, y, width, height, fill) => {
  context.fillStyle = fill;
  const radius = Math.min(height / 2, width / 2, 5);
  context.beginPath();
  context.roundRect(x, y, width, height, radius);
  context.fill();
};

const cross = (context, x, y, size) => {
  context.beginPath();
  context.moveTo(x - size, y - size);
  context.lineTo(x + size, y + size);
  context.moveTo(x + size, y - size);
  context.lineTo(x - size, y + size);
  context.stroke();
};

// Draws how a span ended, where that is remarkable.
const mark = (context, end, x, y) => {
  const { colours } = paint;
  context.lineWidth = 2;
  if (end === 'gave-up' || end === 'gone') {
    context.setLineDash(end === 'gone' ? [2, 2] : []);
    context.strokeStyle = colours.soft;
    context.fillStyle = colours.card;
    context.beginPath();
    context.arc(x, y, 4, 0, 7);
    context.fill();
    context.stroke();
    context.setLineDash([]);
  } else if (end === 'died') {
    context.strokeStyle = colours.card;
    context.lineWidth = 5;
    cross(context, x, y, 4.5);
    context.strokeStyle = colours.dead;
    context.lineWidth = 2.4;
    cross(context, x, y, 4.5);
  } else if (end === 'broken') {
    context.fillStyle = colours.ink;
    context.beginPath();
    context.moveTo(x, y - 6);
    context.lineTo(x + 6, y);
    context.lineTo(x, y + 6);
    context.lineTo(x - 6, y);
    context.fill();
  }
};

const spanShape = (context, kind, x, middle, width) => {
  const { colours } = paint;
  const w = Math.max(width, 1.5);
  if (kind === 'waiting') bar(context, x, middle - 3, w, 6, colours.waiting);
  if (kind === 'holding') bar(context, x, middle - 9, w, 18, colours.held);
  if (kind === 'forgotten') bar(context, x, middle - 9, w, 18, hatch(context, colours.forgotten));
  if (kind === 'expired') bar(context, x, middle - 6, w, 12, colours.expired);
  if (kind === 'dead') {
    bar(context, x, middle - 6, w, 12, hatch(context, colours.dead));
  }
};

// Returns the index of the first span that reaches into a time; spans are sorted by their beginnings.
const firstFrom = (spans, t) => {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle].from < t) low = middle + 1;
    else high = middle;
  }
  // Spans that began before may still last; few of one lane overlap.
  let first = Math.max(0, low - 3);
  if (spans.length && spans[0].to === null) first = 0;
  return first;
};

const drawRow = (context, view, row, y) => {
  for (const lane of row.lanes) drawLane(context, view, lane, y + ROW / 2);
};

const drawLane = (context, view, { spans }, middle) => {
  const { gutter, x, from, to, now, colours, chosen } = view;
  for (let index = firstFrom(spans, from); index < spans.length; index += 1) {
    const span = spans[index];
    if (span.from > to) break;
    const end = span.to ?? now;
    if (end < from) continue;
    const left = Math.max(x(span.from), gutter - 8);
    const right = Math.min(x(end), view.width + 8);
    spanShape(context, span.kind, left, middle, right - left);
    if (span.kind === 'holding' && right - left > 38) {
      const text = duration(end - span.from);
      const room = right - Math.max(left, gutter) - 12;
      if (context.measureText(text).width < room) {
        context.fillStyle = colours['on-held'];
        context.fillText(text, Math.max(left, gutter) + 6, middle + 0.5);
      }
    }
    if (span.to !== null && span.end) mark(context, span.end, x(span.to), middle);
    if (chosen === span) {
      context.strokeStyle = colours.focus;
      context.lineWidth = 2;
      context.beginPath();
      context.roundRect(left - 2, middle - 12, Math.max(right - left, 2) + 4, 24, 6);
      context.stroke();
    }
  }
};

// Draws how a lock passes from lane to lane.
const drawPassing = (context, view, lock) => {
  const { holds } = lock;
  const paths = { plain: new Path2D(), expiry: new Path2D(), death: new Path2D() };
  const top = view.top - ROW * 2;
  const bottom = view.top + view.height + ROW * 2;
  for (let index = Math.max(1, firstFrom(holds, view.from)); index < holds.length; index += 1) {
    const [before, next] = [holds[index - 1], holds[index]];
    if (next.from > view.to) break;
    if (before.lane === next.lane || before.to === null || next.from < view.from) continue;
    const [one, two] = [view.rowOf.get(before.lane), view.rowOf.get(next.lane)];
    if (one === undefined || two === undefined) continue;
    const [y1, y2] = [one + ROW / 2, two + ROW / 2];
    if (Math.max(y1, y2) < top || Math.min(y1, y2) > bottom) continue;
    const [x1, x2] = [Math.max(view.x(before.to), view.gutter - 50), view.x(next.from)];
    if (x2 - x1 > 200) continue;
    const path = next.how === 'after-expiry' ? paths.expiry : next.how === 'after-death' ? paths.death : paths.plain;
    const down = Math.sign(y2 - y1);
    path.moveTo(x1, y1 + 9 * down - view.top);
    path.bezierCurveTo(x1, (y1 + y2) / 2 - view.top, x2, (y1 + y2) / 2 - view.top, x2, y2 - 9 * down - view.top);
  }
  context.lineWidth = 1.6;
  for (const [name, colour, dash] of [['plain', 'held', []], ['expiry', 'expired', [4, 3]], ['death', 'dead', [4, 3]]]) {
    context.strokeStyle = paint.colours[colour];
    context.globalAlpha = name === 'plain' ? 0.55 : 0.95;
    context.setLineDash(dash);
    context.stroke(paths[name]);
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
};

// Draws the name of a lane, on its left.
const drawName = (context, view, row, y) => {
  const { gutter, colours } = view;
  const lane = row.lanes.at(-1);
  const { label, command, pid } = lane.who;
  const several = row.lanes.length > 1 ? `${row.lanes.length}×` : '';
  const aside = gutter > 120 ? several || ((label || command) && pid ? String(pid) : '') : '';
  const key = `${gutter} ${label} ${command} ${aside.length}`;
  if (row.track.nameFor !== key) {
    context.font = view.small;
    const wide = aside ? context.measureText(aside).width + 10 : 0;
    context.font = view.font;
    Object.assign(row.track, { name: cut(context, called(lane.who), gutter - 26 - wide), nameFor: key });
  }
  const middle = y + ROW / 2 + 0.5;
  const last = lane.spans.at(-1);
  context.font = view.font;
  context.fillStyle = !last || last.to !== null ? colours.soft : colours.ink;
  context.fillText(row.track.name, 14, middle);
  if (aside) {
    context.font = view.small;
    context.fillStyle = colours.soft;
    context.textAlign = 'right';
    context.fillText(aside, gutter - 10, middle);
    context.textAlign = 'left';
  }
};

const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

const ticks = (view) => {
  const least = ((view.to - view.from) / (view.width - view.gutter)) * 88;
  const step = STEPS.find((s) => s >= least) ?? 900;
  const times = [];
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) times.push(t);
  return { times, digits: step < 0.1 ? 2 : step < 1 ? 1 : 0 };
};

const drawAxis = (canvas, view) => {
  const context = fit(canvas, view.width, HEAD);
  const { colours } = view;
  context.font = view.small;
  context.textBaseline = 'middle';
  const { times, digits } = view.ticks;
  context.fillStyle = colours.soft;
  context.textAlign = 'center';
  for (const t of times) {
    if (view.x(t) > view.gutter + 26 && view.x(t) < view.width - 26) context.fillText(clockTime(t, digits), view.x(t), HEAD / 2 + 1);
  }
  context.textAlign = 'left';
  context.fillText(view.count, 14, HEAD / 2 + 1);
  const x = view.x(view.now);
  if (x <= view.width) {
    context.fillStyle = colours.now;
    context.beginPath();
    context.moveTo(x - 5, HEAD - 7);
    context.lineTo(x + 5, HEAD - 7);
    context.lineTo(x, HEAD);
    context.fill();
  }
};

const drawLanes = (canvas, view) => {
  const context = fit(canvas, view.width, view.height);
  const { colours, gutter, width, height, top } = view;
  context.textBaseline = 'middle';
  context.font = view.font;
  const first = Math.max(0, Math.floor(top / ROW) - 1);
  const seen = view.rows.slice(first, Math.ceil((top + height) / ROW) + 1);
  const yOf = (index) => (first + index) * ROW - top;

  seen.forEach((row, index) => {
    if (!row.track) return;
    if ((first + index) % 2) {
      context.fillStyle = colours.faint;
      context.globalAlpha = 0.45;
      context.fillRect(0, yOf(index), width, ROW);
      context.globalAlpha = 1;
    }
  });
  context.strokeStyle = colours.faint;
  context.lineWidth = 1;
  context.beginPath();
  for (const t of view.ticks.times) {
    const x = Math.round(view.x(t)) + 0.5;
    if (x < gutter) continue;
    context.moveTo(x, 0);
    context.lineTo(x, height);
  }
  context.stroke();

  context.save();
  context.beginPath();
  context.rect(gutter, 0, width - gutter, height);
  context.clip();
  for (const lock of new Set(seen.map((row) => row.lock))) drawPassing(context, view, lock);
  context.font = view.small;
  seen.forEach((row, index) => {
    if (row.track) drawRow(context, view, row, yOf(index));
  });
  const now = view.x(view.now);
  context.strokeStyle = colours.now;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(now, 0);
  context.lineTo(now, height);
  context.stroke();
  context.restore();

  seen.forEach((row, index) => {
    const y = yOf(index);
    if (row.track) {
      if (view.chosen?.lane.track === row.track || view.pointed?.track === row.track) {
        context.fillStyle = colours.accent;
        context.fillRect(0, y + 3, 4, ROW - 6);
      }
      drawName(context, view, row, y);
      return;
    }
    context.fillStyle = colours.card;
    context.fillRect(0, y, width, ROW);
    context.fillStyle = colours[row.lock.card?.state ?? 'soft'];
    context.font = `600 ${view.font}`;
    const state = STATES[row.lock.card?.state ?? 'free'];
    context.fillText(cut(context, `${state.glyph} ${row.lock.shown}`, width - 30), 14, y + ROW / 2 + 3);
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(0, y + 0.5);
    context.lineTo(width, y + 0.5);
    context.stroke();
  });
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(gutter - 0.5, 0);
  context.lineTo(gutter - 0.5, height);
  context.stroke();
};

// Draws the same shapes at a small size, for the legend.
const drawSample = (canvas, kind, end) => {
  const context = fit(canvas, 30, 16);
  if (kind) {
    context.save();
    context.scale(1, 0.75);
    spanShape(context, kind, 1, 10.7, end ? 18 : 28);
    context.restore();
  }
  if (end) mark(context, end, kind ? 19 : 15, 8);
};

