// cards.js: locks as cards, each with its state, its holder, the rest of its timeout, and its queue.

const cards = {
  made: new Map(), // name -> parts
  states: new Set(), // show only these, if any
  text: '',
  chosen: null, // the name of a lock; null: all of them
  onChoose: () => {},
};

const isQuiet = matchMedia('(prefers-reduced-motion: reduce)');

const cardOf = (lock) => {
  let parts = cards.made.get(lock.name);
  if (parts) return parts;
  parts = { item: element('li'), card: element('button', undefined, { type: 'button', class: 'card', 'aria-pressed': 'false' }) };
  for (const row of ['head', 'who', 'time', 'queue', 'foot']) {
    parts[row] = element('span', undefined, { class: row });
    parts.card.append(parts[row]);
  }
  for (const [row, names] of [['head', ['name', 'state']], ['who', ['holder', 'where']], ['foot', ['lasts', 'rate', 'token']]]) {
    for (const name of names) {
      parts[name] = element('span', undefined, { class: name });
      parts[row].append(parts[name]);
    }
  }
  parts.name.dir = parts.holder.dir = 'auto';
  parts.name.textContent = lock.shown;
  parts.bar = element('i');
  parts.time.append(parts.bar);
  parts.card.addEventListener('click', () => cards.onChoose(lock.name));
  parts.item.append(parts.card);
  // Sorted by name, as on the server.
  const after = [...$('cards').children].find((item) => item.lockName > lock.name);
  parts.item.lockName = lock.name;
  $('cards').insertBefore(parts.item, after ?? null);
  cards.made.set(lock.name, parts);
  visibility.observe(parts.item);
  return parts;
};

const queueOf = (card) => {
  const named = card.queue.map(({ lane }) => world.lanes.get(lane)).filter(Boolean);
  return { named, text: named.slice(0, 4).map((lane) => called(lane.who)).join(' · ') };
};

// Cards outside the window are drawn once a second, for screen readers.
const visibility = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    const parts = cards.made.get(target.lockName);
    if (!parts) continue;
    parts.isUnseen = !isIntersecting;
    if (isIntersecting && parts.isStale) drawCard(world.locks.get(target.lockName));
  }
});

const drawStale = () => {
  for (const [name, parts] of cards.made) if (parts.isStale) drawCard(world.locks.get(name), true);
};

const drawCard = (lock, isDue) => {
  const { card } = lock;
  const parts = cardOf(lock);
  parts.isStale = parts.isUnseen && !isDue;
  if (parts.isStale) return;
  const state = STATES[card.state];
  if (parts.card.dataset.state !== card.state) parts.card.dataset.state = card.state;
  write(parts.state, `${state.glyph} ${state.word}`);
  write(parts.holder, card.holder ? called(card.holder) : card.state === 'bare' ? 'holder unknown' : 'nobody holds it');
  write(parts.where, card.holder ? place(card.holder) : '');
  const { text } = queueOf(card);
  const more = card.waiting > 4 ? ' …' : '';
  write(parts.queue, card.waiting ? `${card.waiting} ${card.waiting === 1 ? 'waits' : 'wait'}: ${text}${more}` : 'nobody waits');
  write(parts.rate, card.a_second ? `${card.is_busy ? '≈ ' : ''}${rate(card.a_second)}/s` : '');
  const token = card.token === null ? '' : String(card.token);
  write(parts.token, token && `#${token.length > 6 ? '…' + token.slice(-5) : token}`);
  parts.rate.title = 'handoffs a second';
  parts.token.title = `the number of this holding: ${token}`;
  moveBar(card, parts);
  drawLasts(lock, parts);
};

// The bar shrinks from now to the timeout as an animation of the browser, not by this script.
const moveBar = (card, parts) => {
  const key = card.state === 'held' ? `${card.renewed_at} ${card.expires_at} ${clock.stopped}` : card.state;
  if (parts.moving === key) return;
  parts.moving = key;
  parts.motion?.cancel();
  parts.motion = null;
  const part = partLeft(card);
  parts.bar.style.transform = `scaleX(${part})`;
  if (card.state !== 'held' || part <= 0 || isQuiet.matches || clock.stopped !== null) return;
  const left = ((card.expires_at - clock.now()) / clock.pace) * 1000;
  const frames = [{ transform: `scaleX(${part})` }, { transform: 'scaleX(0)' }];
  parts.motion = parts.bar.animate(frames, { duration: Math.max(1, left), fill: 'forwards' });
};

const partLeft = (card) => {
  if (card.state !== 'held' || card.expires_at === null) return 0;
  const whole = card.expires_at - card.renewed_at;
  return whole > 0 ? Math.min(1, Math.max(0, (card.expires_at - clock.now()) / whole)) : 0;
};

const drawLasts = (lock, parts) => {
  const { card } = lock;
  const now = clock.now();
  let said = 'free';
  if (card.state === 'held') said = `${duration(card.expires_at - now)} left of ${duration(card.expires_at - card.renewed_at)}`;
  if (card.state === 'expired') said = `over for ${duration(now - card.expires_at)}`;
  if (card.state === 'dead') said = 'its holder is dead';
  if (card.state === 'bare') said = 'plain mkdir lock, holder unknown';
  if (card.state === 'foreign') said = clean(card.note ?? 'not ours');
  write(parts.lasts, said);
  if (isQuiet.matches && card.state === 'held') parts.bar.style.transform = `scaleX(${partLeft(card)})`;
};

// Updates what only time changes, on the visible cards.
const tickCards = () => {
  for (const [name, parts] of cards.made) {
    const lock = world.locks.get(name);
    if (lock?.card && lock.card.state !== 'free' && !parts.isUnseen) drawLasts(lock, parts);
  }
};

const matches = (text) => !cards.text || text.toLowerCase().includes(cards.text);

const isShown = (lock) => {
  if (!lock.card || (cards.states.size && !cards.states.has(lock.card.state))) return false;
  if (!cards.text || matches(lock.name)) return true;
  const { holder } = lock.card;
  if (holder && matches(`${called(holder)} ${place(holder)}`)) return true;
  return queueOf(lock.card).named.some((lane) => matches(`${called(lane.who)} ${place(lane.who)}`));
};

// Counts the locks in each state, and shows those that match.
const sortOut = () => {
  const counts = { held: 0, free: 0, expired: 0, dead: 0, bare: 0, foreign: 0 };
  let shown = 0;
  for (const lock of world.locks.values()) {
    if (!lock.card) continue;
    counts[lock.card.state] += 1;
    const parts = cards.made.get(lock.name);
    if (!parts) continue;
    const is = isShown(lock);
    shown += is;
    if (parts.item.hidden === is) parts.item.hidden = !is;
    const pressed = String(cards.chosen === lock.name);
    if (parts.card.getAttribute('aria-pressed') !== pressed) parts.card.setAttribute('aria-pressed', pressed);
  }
  for (const [state, n] of Object.entries(counts)) {
    write(cards.counts[state], String(n));
    // These states are rare.
    cards.counts[state].parentElement.hidden = !n && (state === 'bare' || state === 'foreign') && !cards.states.has(state);
  }
  const none = $('none');
  none.hidden = shown > 0;
  write(none, world.locks.size ? 'No lock matches.' : 'No locks yet. A lock appears here when it is taken.');
  // Locks in trouble also show in the title of the tab.
  const bad = counts.expired + counts.dead + counts.foreign;
  const title = `${bad ? `(${bad}) ` : ''}${world.title ? clean(world.title) + ' · ' : ''}lockbydir`;
  if (document.title !== title) document.title = title;
};

const makeStates = () => {
  cards.counts = {};
  for (const [state, { glyph, word }] of Object.entries(STATES)) {
    const button = element('button', undefined, { type: 'button', 'data-state': state, 'aria-pressed': 'false' });
    cards.counts[state] = element('b', '0');
    button.append(element('i', glyph, { 'aria-hidden': 'true' }), cards.counts[state], ` ${word}`);
    button.addEventListener('click', () => {
      const is = !cards.states.delete(state);
      if (is) cards.states.add(state);
      button.setAttribute('aria-pressed', String(is));
      sortOut();
    });
    $('states').append(button);
  }
};

// Removes the cards of locks that do not exist any more.
const dropCards = () => {
  for (const [name, parts] of cards.made) {
    if (world.locks.get(name)?.card) continue;
    parts.motion?.cancel();
    visibility.unobserve(parts.item);
    parts.item.remove();
    cards.made.delete(name);
  }
};

// Resets all cards, after a message with the whole state.
const resetCards = () => {
  dropCards();
  for (const parts of cards.made.values()) parts.moving = null;
};

