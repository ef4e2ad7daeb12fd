// A photo tried on a change page is answered on that page, so that what was typed there and not saved stays.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("similar-products-photo");
    const controls = document.getElementById("similar-products-controls");
    const tried = document.getElementById("similar-products-tried");
    if (!form || !controls || !tried) {
        return;
    }
    const file = controls.querySelector("input[type=file]");
    const button = controls.querySelector("button");

    function say(sentence, isProblem) {
        const paragraph = document.createElement("p");
        paragraph.className = "similar-products__note" + (isProblem ? " similar-products__note--problem" : "");
        paragraph.textContent = sentence;
        tried.replaceChildren(paragraph);
    }

    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        if (file.files.length && file.files[0].size > Number(controls.dataset.maxBytes)) {
            say(controls.dataset.tooLarge, true);
            return;
        }
        button.disabled = true;
        say(controls.dataset.busy, false);
        try {
            const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            tried.replaceChildren(document.importNode(page.getElementById("similar-products-found"), true));
        } catch {
            say(controls.dataset.failed, true);
        } finally {
            button.disabled = false;
        }
    });
});
