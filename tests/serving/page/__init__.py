"""Tests of the web page. A package, so that its server and browser can have package scope and start only once."""
