// A browser sends no cookie with a link from another site: who is known already goes on to where the link leads.
const found = await fetch("/login?known=true").then((response) => response.json()).catch(() => ({}));
if (found.known) location.replace(document.getElementById("login").dataset.next);
