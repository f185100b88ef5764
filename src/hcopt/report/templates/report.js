"use strict";
// Draws the charts into their boxes, fitted to the width there is, and copies config.pbtxt. No network, no storage.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("specs");
  const theme = read("theme");
  const words = read("words");
  const narrow = window.matchMedia("(max-width: 40rem)");
  // On a wide screen a chart is drawn larger than its specification says, as letters are in print.
  const LARGEST_SCALE = 1.3;
  const NARROWEST_PX = 170;

  // Panels that stand side by side on a wide page stand below one another where there is no room.
  function stacked(spec, room) {
    if (!("columns" in spec)) return spec;
    const panels = spec.concat ?? [spec.spec];
    const widest = Math.max(...panels.map((panel) => panel.width)) + 60;
    return { ...spec, columns: Math.max(1, Math.min(spec.columns, Math.floor(room / widest))) };
  }

  async function embed(box, spec) {
    const config = narrow.matches ? { ...theme, legend: { ...theme.legend, columns: 2 } } : theme;
    // The interpreter needs no eval, which the page's content security policy forbids.
    const options = { actions: false, ast: true, config, mode: "vega-lite", renderer: "svg", tooltip: { theme: "page" } };
    await vegaEmbed(box, spec, options);
    return box.querySelector("svg");
  }

  async function draw(box) {
    const room = box.clientWidth;
    let spec = stacked(specs[box.dataset.chart], room);
    let svg = await embed(box, spec);
    const natural = Number(svg.getAttribute("width"));
    if (natural > room && "width" in spec) {
      spec = { ...spec, width: Math.max(NARROWEST_PX, spec.width - (natural - room)) };
      svg = await embed(box, spec);
    }
    const width = Number(svg.getAttribute("width"));
    svg.style.width = `${Math.min(room, LARGEST_SCALE * width)}px`;
    svg.style.maxWidth = "100%";
  }

  function drawAll() {
    for (const box of document.querySelectorAll("[data-chart]")) {
      draw(box).catch((error) => {
        console.error(error);
        box.textContent = words.unavailable;
      });
    }
  }

  function selected(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    window.getSelection().removeAllRanges();
    window.getSelection().addRange(range);
  }

  // In a frame without permissions, as MLflow shows artifacts, the clipboard is closed: then the text is selected.
  async function copy(button) {
    const code = document.querySelector(`#${button.dataset.copy} code`);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = button.dataset.copied;
    } catch {
      selected(code);
      button.textContent = document.execCommand("copy") ? button.dataset.copied : button.dataset.selected;
    }
  }

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
  narrow.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => {
    for (const section of document.querySelectorAll("details")) section.open = true;
  });
  // Vega measures its text by the fonts that are there.
  document.fonts.ready.then(drawAll);
})();
