// Draws the plotly figures of a page and keeps their colours with the page's light or dark theme.
// A classic script: modules do not load on file:// pages. Colours come from custom.css.
(function () {
  "use strict";

  const css = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function template() {
    const text = css("--grae-figure-text");
    const grid = css("--grae-figure-grid");
    const axis = {
      gridcolor: grid,
      zerolinecolor: grid,
      linecolor: css("--grae-figure-axis"),
      ticks: "outside",
      tickcolor: css("--grae-figure-axis"),
      automargin: true,
    };
    const control = {
      bgcolor: css("--grae-figure-control"),
      bordercolor: css("--grae-figure-axis"),
      font: { color: text },
    };
    return {
      layout: {
        colorway: [1, 2, 3, 4, 5, 6, 7].map((i) => css("--grae-" + i)),
        font: { family: css("--grae-figure-font"), size: 14, color: text },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        colorscale: { sequential: "Viridis", sequentialminus: "Viridis" },
        hoverlabel: { bgcolor: css("--grae-figure-control"), font: { color: text } },
        legend: { bgcolor: "rgba(0,0,0,0)" },
        margin: { l: 56, r: 16, t: 48, b: 48 },
        xaxis: axis,
        yaxis: axis,
        sliderdefaults: Object.assign({ activebgcolor: css("--grae-1"), tickcolor: text }, control),
        updatemenudefaults: control,
        modebar: {
          bgcolor: "rgba(0,0,0,0)",
          color: css("--grae-figure-axis"),
          activecolor: text,
        },
      },
    };
  }

  function draw(host) {
    const figure = JSON.parse(host.querySelector("script[type='application/json']").textContent);
    const target = document.createElement("div");
    host.appendChild(target);
    figure.layout.template = template();
    figure.config = { responsive: true, displaylogo: false };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      figure.layout.transition = { duration: 0 };
    }
    const ready = () => {
      host.dataset.ready = "true";
    };
    window.Plotly.newPlot(target, figure).then(ready);
    // With hidden image traces and transitions the promise above stays open; the drawing is done.
    target.on("plotly_afterplot", ready);
  }

  function repaint() {
    for (const plot of document.querySelectorAll(".grae-plotly .js-plotly-plot")) {
      window.Plotly.relayout(plot, { template: template() });
    }
  }

  document.querySelectorAll(".grae-plotly").forEach(draw);
  new MutationObserver(repaint).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["data-theme"],
  });
})();
