"""How Sphinx makes the site: `make docs`. The pages are Markdown (MyST) and read as well without it."""

project = "kapi"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
html_theme = "alabaster"
html_title = "kapi"
html_theme_options = {"description": "Kubernetes in Python", "fixed_sidebar": True, "page_width": "1100px"}
html_show_copyright = False
html_copy_source = False
myst_heading_anchors = 3
