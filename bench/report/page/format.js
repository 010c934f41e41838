// How numbers are written: as in format.go.
const format = (() => {
  'use strict';
  const significant = (v) => {
    if (v === 0) return '0';
    const places = 2 - Number(v.toExponential(2).split('e')[1]);
    if (places > 9 || Math.abs(v) >= 1e15) return v.toPrecision(3);
    const digits = Number.isInteger(v) ? 0 : Math.max(0, places);
    return v.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const scaled = (v, step, names) => {
    let i = 0;
    while (i < names.length - 1 && Math.abs(v) >= step * 0.9995) {
      v /= step;
      i++;
    }
    return significant(v) + ' ' + names[i];
  };
  const units = {
    ns: (v) => scaled(v, 1000, ['ns', 'µs', 'ms', 's']),
    bytes: (v) => scaled(v, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']),
    cores: (v) => significant(v) + (v === 1 ? ' core' : ' cores'),
    per_s: (v) => significant(v) + '/s',
    count: significant,
  };
  // A tick of an axis needs no zeros after the point, and no unit that its title has.
  const short = (v) => String(Number(v.toPrecision(6)));
  const ticks = {
    ...units,
    ns: (v) => scaled(v, 1000, ['ns', 'µs', 'ms', 's']).replace(/(\.\d*?)0+(?= )/, '$1').replace('. ', ' '),
    bytes: (v) => scaled(v, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']).replace(/(\.\d*?)0+(?= )/, '$1').replace('. ', ' '),
    cores: short,
    per_s: (v) => (Math.abs(v) >= 1e6 ? short(v / 1e6) + ' M' : Math.abs(v) >= 1e4 ? short(v / 1e3) + ' k' : short(v)),
    count: (v) => (Math.abs(v) >= 1e6 ? short(v / 1e6) + ' M' : Math.abs(v) >= 1e4 ? short(v / 1e3) + ' k' : short(v)),
  };
  const time = (v) => {
    const size = Math.abs(v);
    if (size < 180) return short(v) + ' s';
    const two = (n) => String(n).padStart(2, '0');
    const s = Math.round(size);
    const minutes = Math.floor(s / 60);
    const text = minutes < 60 ? minutes + ':' + two(s % 60) : Math.floor(minutes / 60) + ':' + two(minutes % 60) + ':' + two(s % 60);
    return (v < 0 ? '−' : '') + text;
  };
  const percentile = (x) => String(Number((100 - 100 / x).toFixed(Math.max(0, Math.ceil(Math.log10(x) - 2 - 1e-9)) + 1)));
  return { units, ticks, time, percentile };
})();
