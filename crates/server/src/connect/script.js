const button = document.getElementById("copy");
const secret = document.getElementById("secret");
if (button && secret) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(secret.textContent);
    } catch {
      // Without TLS there is no clipboard to write to, only the older way.
      getSelection().selectAllChildren(secret);
      copied = document.execCommand("copy");
    }
    document.getElementById("copied").textContent = copied ? "Copied." : "Selected. Copy it with your keyboard.";
  });
}
