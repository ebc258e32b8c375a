"""Videos of a person, made from a picture by services elsewhere or by a model of a local folder."""
