'use strict';
// What the page shows, from the data that lies in it. Begins at the end of the file.
const data = JSON.parse(document.getElementById('data').textContent);

// ---- Which scalars make a chart. A chart appears if the run has any of its scalars.
const taken = new Set();
function lines(parentId, title, unit, names, options = {}) {
  const found = names.filter(([name]) => data.series[name]);
  if (!found.length) return;
  found.forEach(([name]) => taken.add(name));
  new Chart(document.getElementById(parentId), {
    title,
    unit,
    kind: 'line',
    xs: data.steps,
    series: found.map(
        ([name, label]) => ({label: found.length > 1 ? label : '', values: data.series[name]})),
    ...options
  });
}
function learning() {
  if (data.evals.length) {
    new Chart(document.getElementById('learning'), {
      title: 'Held-out exact match',
      unit: `greedy, ${data.evals.at(-1).rows.toLocaleString('en-US')} rows`,
      size: 'wide',
      kind: 'points',
      fill: true,
      percent: true,
      floor: 0,
      ceiling: data.evals.some(e => e.match > 0.5) ? 1 : undefined,
      xName: 'version',
      xs: data.evals.map(e => e.version),
      series: [{label: '', values: data.evals.map(e => e.match)}]
    });
  }
  const parts = Object.keys(data.series).filter(n => /^rewards\/.*\/mean$/.test(n)).sort();
  const rewards = [['env/reward_mean', 'score']];
  if (parts.length > 1)
    parts.forEach(n => rewards.push([n, n.slice(8, -5)]));
  else
    parts.forEach(n => taken.add(n));
  lines('learning', 'Reward', 'mean score of a completion', rewards);
  lines('learning', 'KL to the reference', 'nats per sequence', [['objective/kl', '']], {floor: 0});
  lines(
      'learning', 'Loss', '',
      [['ppo/loss/policy', 'policy'], ['ppo/loss/value', 'value'], ['ppo/loss/total', 'total']]);
  if (!data.series['ppo/loss/total'])
    lines('learning', 'Loss', '', [['loss', '']], {size: data.evals.length ? '' : 'wide'});
  taken.add('loss');
  lines(
      'learning', 'Lengths', 'tokens',
      [['tokens/queries_len_mean', 'prompt'], ['tokens/responses_len_mean', 'response']],
      {floor: 0});
  if (!data.series['tokens/responses_len_mean'])
    lines('learning', 'Response length', 'tokens', [['completions/mean_length', '']], {floor: 0});
}
function policy() {
  lines('policy', 'Entropy', 'nats per sequence', [['objective/entropy', '']], {floor: 0});
  lines('policy', 'Entropy of a token', 'nats per token', [['ppo/policy/entropy', '']], {floor: 0});
  if (!data.series['ppo/policy/entropy'])
    lines('policy', 'Entropy', 'nats per token', [['entropy', '']], {floor: 0});
  lines('policy', 'Gradient norm', 'before clipping', [['grad_norm', '']], {floor: 0});
  lines('policy', 'Learning rate', '', [['learning_rate', '']], {floor: 0});
  taken.add('ppo/learning_rate');
  lines('policy', 'KL coefficient', '', [['objective/kl_coef', '']], {floor: 0});
  lines(
      'policy', 'KL of the update', 'nats per token',
      [['ppo/policy/approxkl', 'approx'], ['ppo/policy/policykl', 'policy']]);
  lines(
      'policy', 'Clipped', 'share of tokens',
      [['ppo/policy/clipfrac', 'policy'], ['ppo/val/clipfrac', 'value']],
      {percent: true, floor: 0});
  lines('policy', 'Value function', 'explained variance', [['ppo/val/var_explained', '']]);
  lines('policy', 'Value error', 'mean square', [['ppo/val/error', '']], {floor: 0});
  lines(
      'policy', 'Completions cut off', 'share without EOS', [['completions/clipped_ratio', '']],
      {percent: true, floor: 0});
}
function system() {
  const phases =
      Object.entries(data.phases.seconds).filter(([name]) => name !== 'step' && name !== 'idle');
  const order =
      ['generate', 'score', 'install', 'score_fetch', 'fetch', 'train', 'reduce', 'publish'];
  const rank = name => (order.indexOf(name) + order.length + 1) % (order.length + 1) -
      (order.includes(name) ? 1 : 0);
  phases.sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const wall = data.phases.seconds.step;
  if (phases.length) {
    new Chart(document.getElementById('system'), {
      title: 'Seconds per step, by phase',
      unit: 'phases of different processes may overlap',
      size: 'full',
      kind: 'bars',
      xs: data.phases.steps,
      series: phases.map(([name, values]) => ({label: name.replace('_', ' '), values})),
      total: wall ? {label: 'wall clock', values: wall, color: 'var(--ink)'} : null
    });
  }
  lines(
      'system', 'Behaviour vs learner', 'log-prob difference',
      [
        ['sampling/sampling_logp_difference/mean', 'mean'],
        ['sampling/sampling_logp_difference/max', 'max']
      ],
      {floor: 0});
  lines(
      'system', 'Tokens per second', '',
      [['rollout/tokens_per_second', 'generated'], ['learner/tokens_per_second', 'trained']],
      {floor: 0});
  lines('system', 'Staleness', 'versions behind', [['rollout/staleness', '']], {floor: 0});
}

// ---- Sample completions.
function histogram(parent, name, [low, high, counts]) {
  const figure = el(parent, 'figure');
  el(figure, 'figcaption', {title: name}, name);
  const svg = shape(
      figure, 'svg', {viewBox: '0 0 128 46', preserveAspectRatio: 'none', 'aria-label': name});
  const most = Math.max(1, ...counts);
  counts.forEach((count, i) => {
    const h = count ? Math.max(1, 44 * count / most) : 0;
    shape(svg, 'rect', {
      x: i * 128 / counts.length + 0.3,
      width: 128 / counts.length - 0.6,
      y: 46 - h,
      height: h,
      fill: 'var(--s0)',
      opacity: 0.75
    });
  });
  const range = el(figure, 'div', {class: 'range'});
  el(range, 'span', {}, show(low));
  el(range, 'span', {}, show(high));
}
function samples() {
  const root = document.getElementById('samples');
  const sets = {training: data.samples, 'held-out': data.evalSamples};
  const kinds = Object.keys(sets).filter(kind => sets[kind].length);
  if (!kinds.length) {
    el(root, 'div', {class: 'empty', style: 'padding:20px 16px'},
       'The run recorded no completions.');
    return;
  }
  const scores = [...data.samples, ...data.evalSamples].flatMap(
      s => s.rows.map(r => r[2]).filter(v => v !== null));
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity),
        least = scores.reduce((a, b) => Math.min(a, b), Infinity);
  const bar = el(root, 'div', {class: 'pick'});
  const choice = el(bar, 'div', {class: 'switch', role: 'group'});
  const back = el(bar, 'button', {type: 'button', 'aria-label': 'earlier'}, '‹');
  const slider = el(bar, 'input', {type: 'range', min: 0, step: 1, 'aria-label': 'step'});
  const forth = el(bar, 'button', {type: 'button', 'aria-label': 'later'}, '›');
  const where = el(bar, 'output');
  const list = el(root, 'div', {class: 'samples'});
  const hists = el(root, 'div', {class: 'hists'});
  let kind = kinds.at(0);
  const buttons = kinds.map(k => {
    const button = el(choice, 'button', {type: 'button'}, k);
    button.addEventListener('click', () => select(k, sets[k].length - 1));
    return button;
  });
  function select(newKind, index) {
    kind = newKind;
    const set = sets[kind];
    slider.max = set.length - 1;
    slider.value = Math.max(0, Math.min(index, set.length - 1));
    buttons.forEach((b, i) => b.setAttribute('aria-pressed', kinds[i] === kind));
    const chosen = set[Number(slider.value)];
    where.textContent =
        (kind === 'training' ? 'step ' : 'version ') + chosen.at.toLocaleString('en-US');
    list.replaceChildren();
    for (const [prompt, completion, score] of chosen.rows) {
      const row = el(list, 'div', {class: 'sample'});
      const text = el(row, 'div', {class: 'text'});
      el(text, 'span', {class: 'prompt'}, prompt);
      el(text, 'span', {class: 'completion'}, completion);
      const tone = most > least && score !== null ?
          (score >= least + 0.999 * (most - least)     ? ' high' :
               score <= least + 0.001 * (most - least) ? ' low' :
                                                         '') :
          '';
      el(row, 'span', {class: 'score' + tone, title: 'score'}, show(score));
    }
    hists.replaceChildren();
    for (const [name, bins] of Object.entries(chosen.histograms || {}))
      histogram(hists, name, bins);
    hists.style.display = hists.children.length ? '' : 'none';
  }
  slider.addEventListener('input', () => select(kind, Number(slider.value)));
  back.addEventListener('click', () => select(kind, Number(slider.value) - 1));
  forth.addEventListener('click', () => select(kind, Number(slider.value) + 1));
  pickStep = step => select(kind, nearest(sets[kind].map(s => s.at), step));
  select(kind, sets[kind].length - 1);
}

// ---- Everything else.
function everything() {
  const names = Object.keys(data.series).sort();
  const more = document.getElementById('more');
  const rest = names.filter(name => !taken.has(name));
  if (!rest.length)
    more.remove();
  else {
    more.querySelector('summary').textContent = `${rest.length} more curves`;
    more.addEventListener('toggle', () => {
      const grid = more.querySelector('.charts');
      if (more.open && !grid.children.length) {
        for (const name of rest)
          new Chart(grid, {
            title: name,
            kind: 'line',
            xs: data.steps,
            series: [{label: '', values: data.series[name]}]
          });
      }
    });
  }
  const table = document.getElementById('table');
  table.addEventListener('toggle', () => {
    const box = table.querySelector('.scroll');
    if (!table.open || box.children.length) return;
    const body = el(el(box, 'table'), 'tbody');
    const head = el(body, 'tr');
    el(head, 'th', {}, 'scalar');
    for (const column of ['first', 'last', 'least', 'most'])
      el(head, 'th', {class: 'number'}, column);
    for (const name of names) {
      const known = data.series[name].filter(v => v !== null);
      const row = el(body, 'tr');
      el(row, 'td', {class: 'code'}, name);
      const least = known.reduce((a, b) => Math.min(a, b), Infinity),
            most = known.reduce((a, b) => Math.max(a, b), -Infinity);
      for (const value of known.length ? [known[0], known.at(-1), least, most] :
                                         [null, null, null, null])
        el(row, 'td', {class: 'number'}, show(value));
    }
  });
}
function theme() {
  const button = document.getElementById('theme'), root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark' :
                                          matchMedia('(prefers-color-scheme: dark)').matches;
  const label = () => {
    button.textContent = dark() ? 'Light' : 'Dark';
  };
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    label();
  });
  label();
}
// The last chart of a grid takes what its row has left.
function fill(grid) {
  for (const columns of [2, 3]) {
    let cells = 0;
    for (const chart of grid.children) {
      const size = chart.classList.contains('full') ? columns :
          chart.classList.contains('wide')          ? 2 :
                                                      1;
      if (cells % columns + size > columns) cells += columns - cells % columns;
      cells += size;
    }
    const spare = (columns - cells % columns) % columns;
    if (spare) grid.lastElementChild.classList.add(`grow${columns}-${spare}`);
  }
}
for (const part of [theme, learning, policy, system, samples, everything]) part();
for (const id of ['learning', 'policy', 'system']) {
  const grid = document.getElementById(id);
  if (!grid.children.length) {
    grid.previousElementSibling.remove();
    grid.remove();
  } else
    fill(grid);
}
