// Draws the dashboard's charts from the tables on the page.
"use strict";

(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const tones = () => ({
    accent: colour("--accent"), quiet: colour("--bar"), no: colour("--no"),
    "no-soft": `color-mix(in srgb, ${colour("--no")} 45%, ${colour("--sheet")})`, wait: colour("--wait"),
  });
  const number = (value) => (value === "" ? null : Number(value));
  const short = (value) => {
    if (value == null) return "–";
    if (value >= 1e6) return `${+(value / 1e6).toFixed(1)} M`;
    return value >= 1e4 ? `${+(value / 1e3).toFixed(1)} k` : String(+value.toFixed(value < 10 ? 2 : 0));
  };

  const two = (value) => String(value).padStart(2, "0");
  const clock = (seconds) => {
    const moment = new Date(seconds * 1000);
    return `${two(moment.getHours())}:${two(moment.getMinutes())}`;
  };

  const read = (figure) => {
    const heads = [...figure.querySelectorAll("th[data-tone]")];
    const rows = [...figure.querySelectorAll("tbody tr")];
    return {
      x: rows.map((row) => Number(row.querySelector("[data-x]").dataset.x)),
      series: heads.map((head, place) => ({
        name: head.textContent, tone: head.dataset.tone,
        values: rows.map((row) => number(row.querySelectorAll("[data-y]")[place].dataset.y)),
      })),
    };
  };
  // Bars on each other: the topmost series is the sum of all, drawn first.
  const stack = (series) => {
    const sums = new Array(series[0]?.values.length || 0).fill(0);
    return series.map((one) => one.values.map((value, place) => (sums[place] += value || 0)));
  };

  const drawn = new Map();
  const draw = (figure) => {
    drawn.get(figure)?.destroy();
    const {x, series} = read(figure);
    const stacked = figure.dataset.chart === "stacked";
    const heights = stacked ? stack(series) : series.map((one) => one.values);
    const order = stacked ? series.map((_, place) => series.length - 1 - place) : series.map((_, place) => place);
    const paints = tones(), ink = colour("--ink-2"), line = colour("--line");
    const axis = {stroke: ink, grid: {stroke: line, width: 1}, ticks: {show: false}, font: "11px system-ui, sans-serif"};
    const step = x.length > 1 ? x[1] - x[0] : 60;
    const bars = uPlot.paths.bars({size: [0.72, 40], align: 1});
    const plot = figure.querySelector("[data-plot]");
    drawn.set(figure, new uPlot({
      width: plot.clientWidth, height: 160, padding: [8, 4, 0, 0],
      scales: {x: {time: true, range: (u, low, high) => [low, high + (stacked ? step : 0)]}, y: {range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1]}},
      legend: {live: false},
      cursor: {points: {show: false}, drag: {setScale: false}, y: false},
      axes: [{...axis, grid: {show: false}, size: 26, values: (u, all) => all.map(clock)}, {...axis, size: 46, values: (u, all) => all.map(short)}],
      series: [{}, ...order.map((place) => ({
        label: series[place].name, stroke: paints[series[place].tone], width: stacked ? 1 : 1.75,
        fill: stacked ? paints[series[place].tone] : undefined, paths: stacked ? bars : undefined, points: {show: false}, spanGaps: true,
      }))],
    }, [x, ...order.map((place) => heights[place])], plot));
  };
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

  drawAll();
  document.addEventListener("themed", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let due = 0, width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(due);
    due = setTimeout(drawAll, 120);
  });
})();
