"""Images whose data the catalog fetches itself: staged, from the web, from other stores and catalogs."""
