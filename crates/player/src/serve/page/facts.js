// facts.js: what is shown as text: the facts of a span, the lanes as a table, messages and events, and
// announcements for screen readers.

const factsOf = (lane, span) => {
  const { who, lock } = lane;
  const facts = [];
  const add = (name, value) => value && facts.push([name, value]);
  if (who.label && who.command) add('runs', clean(who.command));
  add('where', place(who));
  add('lock', lock.shown);
  if (!span) return facts;
  const now = clock.now();
  const end = span.to ?? now;
  add('since', clockTime(span.from, 3));
  if (span.to !== null) add('until', clockTime(span.to, 3));
  add(span.to === null ? 'for' : 'lasted', duration(end - span.from));
  if (span.to === null && span.kind === 'holding' && lock.card?.expires_at) {
    add('lasts', `${duration(lock.card.expires_at - now)} more, unless renewed`);
  }
  if (span.token !== null) add('number', `#${span.token}`);
  if (span.how) add('got it', HOWS[span.how]);
  if (span.renewals) add('renewed', count(span.renewals, 'time'));
  if (span.end) add('then', ENDS[span.end]);
  return facts;
};

const kindOf = (span) => (span.to === null ? KINDS : WAS)[span.kind];

const fillTip = (lane, span) => {
  const tip = $('tip');
  const list = element('dl');
  for (const [name, value] of factsOf(lane, span)) list.append(element('dt', name), element('dd', value, { dir: 'auto' }));
  const what = element('b', span ? kindOf(span) : '');
  const tones = { holding: 'held', waiting: 'soft', forgotten: 'forgotten', expired: 'expired', dead: 'dead' };
  if (span) what.style.setProperty('--tone', `var(--${tones[span.kind]})`);
  tip.replaceChildren(element('strong', called(lane.who), { dir: 'auto' }), what, list);
  tip.hidden = false;
};

const placeTip = (x, y) => {
  const tip = $('tip');
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
  const top = y + 18 + height > innerHeight ? y - 14 - height : y + 18;
  tip.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)`;
};

// Shows the facts of what the mouse points at.
const point = (found, x, y) => {
  const before = view.pointed?.lane;
  view.pointed = found && { ...found, x, y };
  if (before !== view.pointed?.lane) dirty();
  if (!found) {
    $('tip').hidden = true;
    return;
  }
  fillTip(found.lane, found.span);
  placeTip(x, y);
};

// Shows the facts beside the span that the keyboard chose, and has a screen reader announce them.
const announceChosen = () => {
  const span = chosenSpan();
  if (!span) return;
  const facts = factsOf(span.lane, span).map(([name, value]) => `${name} ${value}`).join(', ');
  write($('facts'), `${called(span.lane.who)}: ${kindOf(span)}. ${facts}`);
  requestAnimationFrame(() => {
    if (!view.scene || document.activeElement !== $('scroller')) return;
    frame();
    const box = $('scroller').getBoundingClientRect();
    const y = view.rowOf.get(span.lane);
    if (y === undefined) return;
    fillTip(span.lane, span);
    const middle = (Math.max(span.from, view.scene.from) + Math.min(span.to ?? view.scene.now, view.scene.to)) / 2;
    placeTip(box.left + Math.max(view.scene.gutter, view.scene.x(middle)), box.top + y - $('scroller').scrollTop + ROW / 2);
  });
};

// Updates the facts of a span that still lasts while they are shown.
const tickTip = () => {
  if ($('tip').hidden || !view.pointed) return;
  const found = view.pointed;
  const index = found.span ? found.lane.spans.findIndex((span) => span.from === found.span.from && span.kind === found.span.kind) : -1;
  if (found.span && index >= 0) found.span = found.lane.spans[index];
  fillTip(found.lane, found.span);
};

const TABLE = 200;

const drawTable = () => {
  if (!view.isTable) return;
  const spans = [];
  const [to, from] = [edge(), edge() - view.zoom];
  findRows(from, to);
  for (const lane of view.rowOf.keys()) {
    for (const span of lane.spans) if (span.from <= to && (span.to ?? to) >= from) spans.push(span);
  }
  spans.sort((one, two) => (two.to ?? Infinity) - (one.to ?? Infinity) || two.from - one.from);
  const table = element('table');
  const left = spans.length > TABLE ? `, the last ${TABLE}` : '';
  table.append(element('caption', view.emptiness || `${count(spans.length, 'span')} of ${clockTime(from)} to ${clockTime(Math.min(to, clock.now()))}${left}`));
  const head = element('tr');
  for (const name of ['Who', 'Where', 'Lock', 'What', 'Since', 'Lasted', 'Number', 'Renewed', 'Then']) head.append(element('th', name, { scope: 'col' }));
  table.append(element('thead'));
  table.lastChild.append(head);
  const body = element('tbody');
  for (const span of spans.slice(0, TABLE)) {
    const { who, lock } = span.lane;
    const row = element('tr');
    const end = span.to ?? clock.now();
    const then = span.end ? ENDS[span.end] : span.to === null ? 'goes on' : '';
    const cells = [place(who), lock.shown, kindOf(span) + (span.how ? `, ${HOWS[span.how]}` : ''), clockTime(span.from, 2), duration(end - span.from), span.token === null ? '' : `#${span.token}`, span.renewals || '', then];
    row.append(element('th', called(who), { scope: 'row', dir: 'auto' }));
    cells.forEach((cell, index) => row.append(element('td', String(cell), { class: index > 3 && index < 7 ? 'number' : 'wide', dir: 'auto' })));
    body.append(row);
  }
  table.append(body);
  const box = $('table');
  const [scrolled, aside] = [box.scrollTop, box.scrollLeft];
  box.replaceChildren(table);
  box.scrollTop = scrolled;
  box.scrollLeft = aside;
};

const LOG = 300;
const log = (at, text, tone) => {
  const list = $('log');
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
  const item = element('li');
  if (tone) item.dataset.tone = tone;
  item.append(element('time', clockTime(at)), element('span', text, { dir: 'auto' }));
  list.append(item);
  while (list.children.length > LOG) list.firstChild.remove();
  $('log-pane').hidden = false;
  if (isAtEnd) list.scrollTop = list.scrollHeight;
};

// Announces important events to screen readers, one sentence every three seconds.
const announced = { waiting: [], last: 0 };
const announce = (text) => announced.waiting.push(text);
const tickAnnouncements = () => {
  if (!announced.waiting.length || performance.now() - announced.last < 3000) return;
  const some = announced.waiting.slice(0, 3).join('. ');
  const more = announced.waiting.length - 3;
  announced.waiting = [];
  announced.last = performance.now();
  $('announcement').textContent = more > 0 ? `${some}. And ${more} more.` : some;
};

// Announces and logs the change of a lock, if it is important.
const announceChange = (lock) => {
  const { card, before } = lock;
  if (!before) return;
  const holder = card.holder && called(card.holder);
  const at = clock.now();
  const say = (text, tone) => {
    announce(text);
    log(at, text, tone);
  };
  if (card.state === 'expired' && before.state !== 'expired') say(`${lock.shown}: expired; ${holder} did not renew it`, 'expired');
  if (card.state === 'foreign' && before.state !== 'foreign') say(`${lock.shown}: cannot be locked: ${clean(card.note ?? '')}`, 'dead');
  if (card.state === 'dead' && before.state !== 'dead') say(`${lock.shown}: ${holder} died`, 'dead');
  const isTaken = card.how === 'after-expiry' || card.how === 'after-death';
  if (isTaken && card.state === 'held' && card.since !== before.since && card.token !== before.token) {
    say(`${lock.shown}: taken over by ${holder} ${card.how === 'after-expiry' ? 'after expiry' : 'after a death'}`);
  }
};

const LEGEND = [
  ['waiting', null, 'waits'],
  ['holding', null, 'holds'],
  ['forgotten', null, 'not renewed until it expired'],
  ['expired', null, 'expired'],
  ['dead', null, 'dead'],
  ['waiting', 'gave-up', 'gave up'],
  ['waiting', 'gone', 'gone'],
  ['holding', 'died', 'died'],
  ['holding', 'broken', 'broken'],
];
const drawLegend = () => {
  const items = LEGEND.map(([kind, end, word]) => {
    const item = element('li');
    const canvas = element('canvas', undefined, { 'aria-hidden': 'true' });
    drawSample(canvas, kind, end);
    item.append(canvas, word);
    return item;
  });
  $('legend').replaceChildren(...items);
};

