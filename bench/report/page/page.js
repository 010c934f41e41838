(() => {
  'use strict';
  const drawings = JSON.parse(document.getElementById('drawings').textContent);
  const root = document.documentElement;

  // Colours come from the style sheet, which knows light from dark. A property that is not registered is not resolved; a colour is.
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  let palette = {};
  const colour = (name) => {
    if (!(name in palette)) {
      probe.style.color = `var(--${name})`;
      palette[name] = getComputedStyle(probe).color;
    }
    return palette[name];
  };
  const font = () => '12px ' + getComputedStyle(document.body).fontFamily;

  // Steps of axes: of time in what clocks count, of bytes in powers of two.
  const decades = (from, to, steps) => {
    const all = [];
    for (let e = from; e <= to; e++) for (const step of steps) all.push(Number(`${step}e${e}`));
    return all;
  };
  const timeSteps = [...decades(-9, -1, [1, 2, 5]), 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, ...decades(5, 300, [1])];
  const byteSteps = Array.from({ length: 1000 }, (_, i) => 2 ** i);
  const steps = decades(-12, 300, [1, 2, 5]);

  // wide enough for its widest label
  const axisSize = (u, values) => {
    if (!values) return 40;
    u.ctx.save();
    u.ctx.font = font();
    const widest = Math.max(0, ...values.map((v) => u.ctx.measureText(v ?? '').width));
    u.ctx.restore();
    return Math.ceil(widest) + 18;
  };

  const percentiles = (u, axis, min, max) => {
    const all = [2];
    for (let x = 10; x <= max * 1.0001; x *= 10) all.push(x);
    return all.filter((x) => x >= min * 0.9999 && x <= max * 1.0001);
  };

  // A logarithmic axis has a line for each power of ten and, if these are few, for twice and five times it.
  const powers = (u, axis, min, max) => {
    const all = [];
    const mantissas = max / min > 300 ? [1] : [1, 2, 5];
    for (let e = Math.floor(Math.log10(min)); e <= Math.ceil(Math.log10(max)); e++) for (const m of mantissas) all.push(Number(`${m}e${e}`));
    return all.filter((v) => v >= min && v <= max);
  };

  function range(u, min, max, log) {
    if (min == null || max == null) return log ? [1, 10] : [0, 1];
    if (log) {
      if (max / min < 1.5) return [min / 2, max * 2];
      const room = (max / min) ** 0.05;
      return [min / room, max * room];
    }
    const low = Math.min(0, min);
    const high = Math.max(0, max);
    return low === high ? [0, 1] : [low, high + (high - low) * 0.06];
  }

  function chart(figure, drawing) {
    const plot = figure.querySelector('.plot');
    const entries = [...figure.querySelectorAll('.entry')];
    const at = figure.querySelector('.at');
    const scale = figure.querySelector('.scale');
    const overTime = drawing.kind === 'time';
    const data = drawing.tables.length > 1 ? uPlot.join(drawing.tables) : drawing.tables[0];
    const xs = data[0];

    let lowest = Infinity;
    let highest = 0;
    for (const ys of data.slice(1)) {
      for (const y of ys) {
        if (y == null) continue;
        if (y > 0 && y < lowest) lowest = y;
        if (y > highest) highest = y;
      }
    }
    // What reaches over more than a power of ten is seen best on a logarithmic scale.
    let log = drawing.log && highest / lowest > 10;
    let u;

    const readout = (u) => {
      const idx = u.cursor.idx;
      for (const [i, entry] of entries.entries()) {
        const value = entry.querySelector('.value');
        let text = '';
        for (const [s, line] of drawing.lines.entries()) {
          if (line.entry !== i || text !== '' || idx == null) continue;
          const y = u.data[s + 1][u.cursor.idxs[s + 1] ?? idx];
          if (y != null) text = format.units[drawing.unit](y);
        }
        value.textContent = text;
      }
      at.textContent = idx == null ? '' : overTime ? format.time(u.data[0][idx]) : format.percentile(u.data[0][idx]) + ' %';
    };

    const warmUp = (u) => {
      if (!overTime || !(u.scales.x.min < 0)) return;
      const { left, top, width, height } = u.bbox;
      const end = Math.min(left + width, u.valToPos(0, 'x', true));
      if (!(end > left)) return;
      u.ctx.save();
      u.ctx.fillStyle = colour('shade');
      u.ctx.fillRect(left, top, end - left, height);
      const label = 'warm-up';
      const pixels = devicePixelRatio;
      u.ctx.font = font().replace('12px', `${11 * pixels}px`);
      if (u.ctx.measureText(label).width + 8 * pixels < end - left) {
        u.ctx.fillStyle = colour('muted');
        u.ctx.textBaseline = 'bottom';
        u.ctx.fillText(label, left + 4 * pixels, top + height - 3 * pixels);
      }
      u.ctx.restore();
    };

    function draw() {
      u?.destroy();
      const axis = {
        font: font(),
        stroke: () => colour('muted'),
        grid: { stroke: () => colour('grid'), width: 1 },
        ticks: { stroke: () => colour('grid'), width: 1, size: 5 },
      };
      u = new uPlot(
        {
          width: plot.clientWidth,
          height: plot.clientHeight,
          legend: { show: false },
          padding: [10, overTime ? 14 : 28, 0, 0], // half a label of the last tick
          focus: { alpha: 1 },
          cursor: { sync: { key: drawing.kind, setSeries: false }, drag: { x: true, y: false, setScale: true }, points: { size: 7 } },
          scales: {
            x: overTime ? { time: false } : { time: false, distr: 3, log: 10, range: (u, min, max) => [min ?? 1, max > (min ?? 1) ? max : 10] },
            y: { distr: log ? 3 : 1, log: 10, range: (u, min, max) => range(u, min, max, log) },
          },
          axes: [
            overTime
              ? { ...axis, size: 32, incrs: timeSteps, space: 64, values: (u, splits) => splits.map((v) => (v == null ? '' : format.time(v))) }
              : { ...axis, size: 32, splits: percentiles, filter: (u, splits) => splits, values: (u, splits) => splits.map((v) => format.percentile(v)) },
            {
              ...axis,
              space: 36,
              size: axisSize,
              ...(log ? { splits: powers, filter: (u, splits) => splits } : { incrs: drawing.unit === 'bytes' ? byteSteps : steps }),
              values: (u, splits) => splits.map((v) => (v == null ? '' : format.ticks[drawing.unit](v))),
            },
          ],
          series: [
            {},
            ...drawing.lines.map((line) => ({
              label: line.label,
              stroke: () => colour('c' + line.colour),
              dash: line.dash ?? undefined,
              width: line.dash?.[0] <= 3 ? 2.25 : 1.75,
              show: entries[line.entry].getAttribute('aria-pressed') === 'true',
              points: { size: 5, fill: () => colour('c' + line.colour), show: xs.length === 1 ? true : undefined },
            })),
          ],
          hooks: { drawClear: [warmUp], setCursor: [readout] },
        },
        data,
        plot,
      );
      // What the chart is in words stands at the figure.
      u.root.setAttribute('aria-hidden', 'true');
      figure.uplot = u;
      scale && (scale.textContent = log ? 'Linear scale' : 'Log scale');
    }

    for (const [i, entry] of entries.entries()) {
      entry.addEventListener('click', () => {
        const show = entry.getAttribute('aria-pressed') !== 'true';
        entry.setAttribute('aria-pressed', String(show));
        for (const [s, line] of drawing.lines.entries()) if (line.entry === i) u.setSeries(s + 1, { show });
      });
    }
    if (scale) {
      scale.hidden = false;
      scale.addEventListener('click', () => {
        log = !log;
        draw();
      });
    }
    plot.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const idx = Math.max(0, Math.min(xs.length - 1, (u.cursor.idx ?? (step < 0 ? xs.length : -1)) + step));
      u.setCursor({ left: u.valToPos(xs[idx], 'x'), top: 1 }, true, true);
    });
    draw();
    new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = plot;
      if (width > 0 && (width !== u.width || height !== u.height)) u.setSize({ width, height });
    }).observe(plot);
    return { redraw: () => u.redraw(true, true) };
  }

  const charts = drawings.map((drawing) => chart(document.getElementById('chart-' + drawing.id), drawing));
  const repaint = () => {
    palette = {};
    for (const c of charts) c.redraw();
  };

  // Light and dark: the system's until the reader chooses.
  const system = matchMedia('(prefers-color-scheme: dark)');
  const toggle = document.getElementById('theme');
  const dark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : system.matches);
  const name = () => {
    toggle.textContent = dark() ? 'Light' : 'Dark';
    toggle.setAttribute('aria-label', dark() ? 'Show in light colours' : 'Show in dark colours');
  };
  toggle.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    try {
      localStorage.setItem('strand-theme', root.dataset.theme);
    } catch {
      // Then it holds for this time alone.
    }
    name();
    repaint();
  });
  system.addEventListener('change', () => {
    name();
    repaint();
  });
  name();

  // Paper is white.
  let before;
  addEventListener('beforeprint', () => {
    before = root.dataset.theme;
    root.dataset.theme = 'light';
    repaint();
  });
  addEventListener('afterprint', () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    repaint();
  });

  // The data of the page, as the files that it was made from.
  for (const button of document.querySelectorAll('button.download')) {
    button.addEventListener('click', async () => {
      const bytes = Uint8Array.from(atob(document.getElementById(button.dataset.of).textContent.trim()), (c) => c.charCodeAt(0));
      const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
      const url = URL.createObjectURL(await new Response(text, { headers: { 'Content-Type': 'application/json' } }).blob());
      const link = document.createElement('a');
      link.href = url;
      link.download = button.dataset.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    });
  }
  root.dataset.ready = 'true';
})();
