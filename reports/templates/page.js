"use strict";
(function () {
  var root = document.documentElement;
  // At once, so that only one panel of each divergence is ever laid out.
  root.classList.add("script");
  document.addEventListener("DOMContentLoaded", function () {
    var theme = document.querySelector(".theme");
    theme.addEventListener("click", function () {
      var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      theme.setAttribute("aria-pressed", String(!dark));
    });
    document.querySelectorAll(".stepper").forEach(function (stepper) {
      var panels = Array.from(stepper.querySelectorAll(".panel"));
      var buttons = Array.from(stepper.querySelectorAll(".list button"));
      var place = stepper.querySelector(".place");
      var go = {};
      stepper.querySelectorAll("[data-go]").forEach(function (button) { go[button.dataset.go] = button; });
      var first = Math.max(0, panels.findIndex(function (panel) { return panel.classList.contains("first"); }));
      var now = -1;
      function show(index, focus) {
        index = Math.min(Math.max(index, 0), panels.length - 1);
        if (index === now) { return; }
        now = index;
        panels.forEach(function (panel, i) { panel.classList.toggle("now", i === now); });
        buttons.forEach(function (button, i) {
          if (i === now) { button.setAttribute("aria-current", "step"); } else { button.removeAttribute("aria-current"); }
        });
        // Not "disabled": a button that is disabled loses the focus, and with it the arrow keys.
        [go.start, go.back].forEach(function (one) { one.setAttribute("aria-disabled", String(now === 0)); });
        [go.next, go.end].forEach(function (one) { one.setAttribute("aria-disabled", String(now === panels.length - 1)); });
        place.textContent = (now + 1) + " of " + panels.length;
        var list = buttons[now].closest(".list");
        var row = buttons[now].parentElement;
        list.scrollTop = row.offsetTop - list.offsetTop - list.clientHeight / 2;
        if (focus) { buttons[now].focus({ preventScroll: true }); }
      }
      go.start.addEventListener("click", function () { show(0); });
      go.back.addEventListener("click", function () { show(now - 1); });
      go.next.addEventListener("click", function () { show(now + 1); });
      go.end.addEventListener("click", function () { show(panels.length - 1); });
      go.first.addEventListener("click", function () { show(first); });
      buttons.forEach(function (button, i) { button.addEventListener("click", function () { show(i); }); });
      stepper.addEventListener("keydown", function (event) {
        if (event.altKey || event.ctrlKey || event.metaKey) { return; }
        var inList = event.target.closest(".list") !== null;
        var move = { ArrowLeft: now - 1, ArrowRight: now + 1, ArrowUp: now - 1, ArrowDown: now + 1, Home: 0, End: panels.length - 1 };
        var vertical = event.key.indexOf("Up") > 0 || event.key.indexOf("Down") > 0 || event.key === "Home" || event.key === "End";
        if (!(event.key in move) || (vertical && !inList)) { return; }
        event.preventDefault();
        show(move[event.key], inList);
      });
      show(first);
    });
    document.querySelectorAll("[data-copy]").forEach(function (button) {
      button.hidden = !navigator.clipboard;
      button.addEventListener("click", function () {
        navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(function () {
          button.textContent = "Copied";
        });
      });
    });
    window.addEventListener("beforeprint", function () {
      document.querySelectorAll("details").forEach(function (one) { one.open = true; });
    });
  });
})();
