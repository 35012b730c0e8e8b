'use strict';
(() => {
  const $ = (id) => document.getElementById(id);

  // The timeline says under the pointer what it shows, and leads to the nearest frame below.
  const {tasks, columns} = JSON.parse($('timeline-data').textContent);
  const plot = document.querySelector('.plot');
  const cursor = plot.querySelector('.cursor');
  const readout = $('readout');
  const hint = readout.textContent;
  const cards = [...document.querySelectorAll('.card')];
  const columnAt = (event) => {
    const {left, width} = plot.getBoundingClientRect();
    const place = Math.floor((event.clientX - left) / width * columns.length);
    return Math.max(0, Math.min(columns.length - 1, place));
  };
  plot.addEventListener('pointermove', (event) => {
    const place = columnAt(event);
    const [first, last, score, ...rest] = columns[place];
    const time = rest.pop();
    const frames = first === last ? `frame ${first}` : `frames ${first} to ${last}`;
    readout.textContent = `${time ? time + ', ' : ''}${frames}: ${score.toFixed(2)} ` +
      `(${tasks.map((task, i) => `${task} ${rest[i].toFixed(2)}`).join(', ')})`;
    cursor.hidden = false;
    cursor.style.left = `${100 * (place + 0.5) / columns.length}%`;
  });
  plot.addEventListener('pointerleave', () => {
    readout.textContent = hint;
    cursor.hidden = true;
  });
  plot.addEventListener('click', (event) => {
    if (!cards.length || event.target.closest('a')) return;
    const [first, last] = columns[columnAt(event)];
    const away = (card) => Math.abs(card.dataset.index - (first + last) / 2);
    const nearest = cards.reduce((best, card) => away(card) < away(best) ? card : best);
    if (nearest.hidden) showAll();
    location.hash = nearest.id;
  });
  if (!cards.length) return;

  // Filters and order of the frames.
  const controls = $('controls');
  const [task, chosenClass, order] = ['task', 'class', 'order'].map($);
  const said = (card, name) => JSON.parse(card.dataset[name]);
  [...new Set(cards.flatMap((card) => said(card, 'classes')))].sort().forEach((name) => {
    chosenClass.add(new Option(name, name));
  });
  const key = {
    rank: (card) => +card.dataset.rank,
    index: (card) => +card.dataset.index,
    a: (card) => +(card.dataset.gain ?? 0),
    b: (card) => -(card.dataset.gain ?? 0),
  };
  const visible = () => [...$('cards').children].filter((card) => !card.hidden);
  const update = () => {
    for (const card of cards) {
      card.hidden = (task.value !== '' && !said(card, 'tasks').includes(task.value)) ||
        (chosenClass.value !== '' && !said(card, 'classes').includes(chosenClass.value));
    }
    const value = key[order.value];
    $('cards').append(...[...cards].sort((one, other) => value(one) - value(other)));
    $('count').textContent = `${visible().length} of ${cards.length} frames`;
  };
  const showAll = () => {
    task.value = chosenClass.value = '';
    update();
  };
  controls.addEventListener('input', update);
  controls.addEventListener('submit', (event) => event.preventDefault());
  window.addEventListener('hashchange', () => {
    const card = document.getElementById(location.hash.slice(1));
    if (card?.hidden) {
      showAll();
      card.scrollIntoView();
    }
  });
  controls.hidden = false;
  document.querySelectorAll('.needs-script').forEach((hint) => { hint.hidden = false; });
  update();

  // The viewer: large pictures side by side, or one place where A and B take turns.
  const viewer = $('viewer');
  const pictures = $('viewer-pictures');
  const blink = $('blink');
  let current = null;
  let timer = 0;
  const setBlinking = (on) => {
    clearInterval(timer);
    blink.setAttribute('aria-pressed', on);
    pictures.classList.toggle('blinking', on);
    const sides = [...pictures.children].slice(0, 2);
    [...pictures.children].forEach((figure, i) => { figure.hidden = on && i > 1; });
    sides.forEach((figure, i) => figure.classList.toggle('on', i === 0));
    if (on) timer = setInterval(() => sides.forEach((f) => f.classList.toggle('on')), 600);
  };
  const show = (card) => {
    const wasBlinking = blink.getAttribute('aria-pressed') === 'true';
    current = card;
    $('viewer-title').textContent = card.querySelector('h3').textContent;
    pictures.replaceChildren(...[...card.querySelectorAll('.pair figure')].map((figure) => {
      const copy = figure.cloneNode(true);
      const image = copy.querySelector('img');
      image.loading = 'eager';
      copy.querySelector('a').replaceWith(image);
      return copy;
    }));
    setBlinking(wasBlinking);
    if (!viewer.open) viewer.showModal();
  };
  const step = (by) => {
    const list = visible();
    show(list[(list.indexOf(current) + by + list.length) % list.length]);
  };
  $('cards').addEventListener('click', (event) => {
    const link = event.target.closest('a[data-picture]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link.closest('.card'));
  });
  $('previous').addEventListener('click', () => step(-1));
  $('next').addEventListener('click', () => step(1));
  $('close').addEventListener('click', () => viewer.close());
  blink.addEventListener('click', () => {
    setBlinking(blink.getAttribute('aria-pressed') !== 'true');
  });
  viewer.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowLeft') step(-1);
    if (event.key === 'ArrowRight') step(1);
    if (event.key === 'b') setBlinking(blink.getAttribute('aria-pressed') !== 'true');
  });
  viewer.addEventListener('close', () => {
    setBlinking(false);
    current?.querySelector('a').focus({preventScroll: true});
    current?.scrollIntoView({block: 'nearest'});
  });
})();
