// What HTML and htmx don't do by themselves: a key for the search field, a banner while nothing comes through.
(function () {
  "use strict";
  const banner = document.getElementById("lost");
  const field = document.getElementById("q");
  let lost = false;

  function show() {
    const offline = !navigator.onLine;
    banner.querySelector("[data-offline]").hidden = !offline;
    banner.querySelector("[data-lost]").hidden = offline || !lost;
    banner.hidden = !offline && !lost;
  }

  function connection(isLost) {
    return function () {
      lost = isLost;
      show();
    };
  }

  for (const name of ["htmx:sseError", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, connection(true));
  for (const name of ["htmx:sseOpen", "htmx:sseMessage", "htmx:sseClose", "htmx:afterOnLoad"]) document.addEventListener(name, connection(false));
  window.addEventListener("offline", show);
  window.addEventListener("online", function () {
    lost = false;
    show();
  });
  show();

  // An answer may have come while the hits were on their way: the address names what the page shows.
  document.addEventListener("htmx:beforeHistoryUpdate", function (event) {
    const {answer, conversation} = (document.querySelector("#answer [data-answer]") || {dataset: {}}).dataset;
    if (event.detail.history.type !== "replace" || !answer) return;
    const url = new URL(event.detail.history.path, location);
    url.searchParams.set("answer", answer);
    if (conversation) url.searchParams.set("conversation", conversation);
    event.detail.history.path = url.pathname + url.search;
  });

  document.addEventListener("keydown", function (event) {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !field) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
})();
