// Buttons of the page header, whose inline handlers a strict Content-Security-Policy would refuse.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-grae-action]");
  if (!button) return;
  if (button.dataset.graeAction === "window.print") window.print();
  else if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen();
});
